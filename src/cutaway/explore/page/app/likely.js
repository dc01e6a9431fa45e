// What is likely to come next: tokens by their logits, and lists of them.

import { html } from "../vendor/lit-html.js";
import { numeral, percent } from "../draw/numbers.js";
import { meter } from "../draw/pieces.js";
import { ask } from "./model.js";
import { ranked, softmax } from "./sampling.js";

/** A token as it can be read. */
export const word = (id) => ask("vocabulary")?.tokens[id] ?? `#${id}`;

/** A probability as it is printed; a very small one with its power of ten. */
export const share = (value) => (value > 0 && value < 5e-5 ? `${(100 * value).toExponential(1)} %` : percent(value));

const known = new WeakMap();

/** {order, probabilities} of a token's logits (V,): ids by falling logit, and the softmax. */
export function likely(logits) {
  if (!known.has(logits)) known.set(logits, { order: ranked(logits), probabilities: softmax(logits) });
  return known.get(logits);
}

/** The k likeliest: [{id, probability}]. */
export function likeliest(logits, k = 10) {
  const { order, probabilities } = likely(logits);
  return Array.from(order.subarray(0, k), (id) => ({ id, probability: probabilities[id] }));
}

/** The ids of those tokens that are not among the others. */
export function onlyIn(these, others) {
  const known = new Set(others.map(({ id }) => id));
  return new Set(these.map(({ id }) => id).filter((id) => !known.has(id)));
}

/** Such tokens as a list, the likeliest first; `probs` names the tensor, `position` the token that they follow. Those in `marked` stand out. */
export function likelyList(top, probs, position, marked = new Set()) {
  return html`<ol class="bars likely">${top.map(({ id, probability, text }) => html`<li class=${marked.has(id) ? "marked" : ""}>
    <span class="token">${text ?? word(id)}</span>
    ${meter(probability, top[0].probability)}
    ${numeral(share(probability), probs, [position, id])}</li>`)}</ol>`;
}
