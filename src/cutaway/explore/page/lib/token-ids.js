// Token ids as they are typed: "50256 32, 9379".

/** The numbers of a text, in their order; what is none is NaN, which the server refuses. */
export const typedIds = (text) => text.split(/[\s,]+/).filter(Boolean).map(Number);
