// Candidates for the next token.

import { select } from "../lib/cells.js";
import { ranked, softmax } from "../lib/sampling.js";
import { ask, position, tensor } from "./session.js";

/** Readable text of a token. */
export const word = (id) => ask("vocabulary")?.tokens[id] ?? `#${id}`;

/** The scores after the selected token; undefined until they arrive. */
export const logits = () => tensor(select("logits", position.value, ":"))?.data;

const known = new WeakMap();

/** {order, probabilities} of logits (V,): ids by descending logit, and the softmax. */
export function likely(logits) {
  if (!known.has(logits)) known.set(logits, { order: ranked(logits), probabilities: softmax(logits) });
  return known.get(logits);
}

/** The k most likely candidates: [{id, probability}]. */
export function likeliest(logits, k = 10) {
  const { order, probabilities } = likely(logits);
  return Array.from(order.subarray(0, k), (id) => ({ id, probability: probabilities[id] }));
}

/** The ids of the candidates that are not among the others. */
export function onlyIn(these, others) {
  const known = new Set(others.map(({ id }) => id));
  return new Set(these.map(({ id }) => id).filter((id) => !known.has(id)));
}
