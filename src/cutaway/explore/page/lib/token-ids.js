// Parsing of typed token ids: "50256 32, 9379".

/** Ids below `count`, separated by spaces or commas: {ids}; {wrong} with the first word that is none. */
export function typedIds(text, count) {
  const words = text.split(/[\s,]+/).filter(Boolean);
  const wrong = words.find((word) => !/^\d+$/.test(word) || Number(word) >= count);
  return wrong === undefined ? { ids: words.map(Number) } : { wrong };
}
