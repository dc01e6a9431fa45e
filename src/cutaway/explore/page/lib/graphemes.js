// Which tokens hold the bytes of one character together.

const follows = (byte) => byte >= 0x80 && byte < 0xc0;
const following = (byte) => (byte >= 0xf0 ? 3 : byte >= 0xe0 ? 2 : byte >= 0xc0 ? 1 : 0);

/** How many bytes a character still lacks at the end of these, when it lacked so many before. */
function lacking(bytes, before) {
  return bytes.reduce((left, byte) => (follows(byte) ? Math.max(0, left - 1) : following(byte)), before);
}

/** Tokens ({bytes}) in groups [[token, place], …]: one by one, but together where a character goes on in the next. */
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

/** The text of a group. */
export const written = (group) => new TextDecoder().decode(Uint8Array.from(group.flatMap(([token]) => token.bytes)));
