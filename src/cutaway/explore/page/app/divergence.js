// How far two distributions over the vocabulary are apart: the Kullback-Leibler divergence KL(p ‖ q), in nats.

import { softmax } from "./sampling.js";

/** Of the probabilities that logits (V,) give from those of others. */
export function divergence(logits, others) {
  const p = softmax(logits), between = logSum(others) - logSum(logits);
  return p.reduce((sum, share, i) => (share > 0 ? sum + share * (logits[i] - others[i] + between) : sum), 0);
}

function logSum(logits) {
  const largest = logits.reduce((a, b) => Math.max(a, b), -Infinity);
  return largest + Math.log(logits.reduce((sum, value) => sum + Math.exp(value - largest), 0));
}

/**
 * The least that KL can be where only the likeliest tokens of each, [{id, probability}], are known.
 *
 * A token that one of the two does not list has there at most the probability of the last that is listed. KL is convex,
 * so it is smallest where p / q is the same ratio for all that is not known, as far as that limit allows.
 */
export function leastDivergence(p, q) {
  const [inP, inQ] = [p, q].map((top) => new Map(top.map(({ id, probability }) => [id, probability])));
  const onlyP = p.filter(({ id }) => !inQ.has(id)), onlyQ = q.filter(({ id }) => !inP.has(id));
  const filled = (ratio) => {
    const hidden = { q: onlyP.map((one) => Math.min(q.at(-1).probability, one.probability / ratio)),
      p: onlyQ.map((one) => Math.min(p.at(-1).probability, one.probability * ratio)) };
    return { ...hidden, restP: 1 - total(p) - sum(hidden.p), restQ: 1 - total(q) - sum(hidden.q) };
  };
  const { q: hiddenQ, p: hiddenP, restP, restQ } = filled(evenRatio(filled));
  const common = p.filter(({ id }) => inQ.has(id)).map(({ id, probability }) => term(probability, inQ.get(id)));
  return Math.max(0, sum(common) + sum(onlyP.map((one, i) => term(one.probability, hiddenQ[i])))
    + sum(onlyQ.map((one, i) => term(hiddenP[i], one.probability))) + term(restP, restQ));
}

/** The ratio that what is left over has as well; found by halving, on a logarithmic scale. */
function evenRatio(filled) {
  let low = -20, high = 20;
  for (let step = 0; step < 50; step++) {
    const middle = (low + high) / 2, { restP, restQ } = filled(Math.exp(middle));
    if (restP > Math.exp(middle) * restQ) low = middle;
    else high = middle;
  }
  return Math.exp(low);
}

const LEAST = 1e-6; // below which what is left over is rounding

const sum = (numbers) => numbers.reduce((a, b) => a + b, 0);
const total = (top) => sum(top.map((one) => one.probability));
const term = (p, q) => (p > LEAST ? p * Math.log(p / Math.max(q, LEAST)) : 0);
