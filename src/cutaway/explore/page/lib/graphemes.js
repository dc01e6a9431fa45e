// Grouping of tokens that share the bytes of one character.

const follows = (byte) => byte >= 0x80 && byte < 0xc0;
const following = (byte) => (byte >= 0xf0 ? 3 : byte >= 0xe0 ? 2 : byte >= 0xc0 ? 1 : 0);

/** Continuation bytes still missing after these, given how many were missing before. */
function lacking(bytes, before) {
  return bytes.reduce((left, byte) => (follows(byte) ? Math.max(0, left - 1) : following(byte)), before);
}

/** Group tokens ({bytes}) as [[token, index], …], together if a character continues in the next token. */
export function together(tokens) {
  const groups = [];
  let left = 0;
  tokens.forEach((token, place) => {
    if (left > 0 && follows(token.bytes[0])) groups.at(-1).push([token, place]);
    else groups.push([[token, place]]);
    left = lacking(token.bytes, left);
  });
  return groups;
}

/** What to call each token: its text, or, of several that make up one character, "机·1", "机·2" and so on. */
export function names(tokens) {
  return together(tokens).flatMap((group) => {
    const whole = written(group).trim();
    const isOne = group.length > 1 && whole && !whole.includes("\ufffd");
    return group.map(([token], part) => (isOne ? `${whole}·${part + 1}` : token.text));
  });
}

/** Decode a group. */
export const written = (group) => new TextDecoder().decode(Uint8Array.from(group.flatMap(([token]) => token.bytes)));
