// Parsing of typed token ids: "50256 32, 9379".

/** Numbers separated by spaces or commas; anything else becomes NaN, which the server rejects. */
export const typedIds = (text) => text.split(/[\s,]+/).filter(Boolean).map(Number);
