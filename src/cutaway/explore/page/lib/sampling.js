// Sampling, exactly as `cutaway.generation.sampling` does it: temperature, then top-k with ties, then top-p including the
// token that crosses the threshold. In float64, over the whole vocabulary.

/** Softmax of logits: Float64Array. */
export function softmax(logits) {
  const wide = Float64Array.from(logits);
  let largest = -Infinity;
  for (const value of wide) largest = Math.max(largest, value);
  let sum = 0;
  for (let i = 0; i < wide.length; i++) sum += wide[i] = Math.exp(wide[i] - largest);
  for (let i = 0; i < wide.length; i++) wide[i] /= sum;
  return wide;
}

/** Ids by descending logit, ties by the lower id. */
export function ranked(logits) {
  return Uint32Array.from(logits, (_, i) => i).sort((a, b) => logits[b] - logits[a] || a - b);
}

/** The distribution to sample from: {ids, probabilities}, most likely first. `order` is `ranked(logits)`. */
export function distribution(logits, order, { temperature, topK, topP }) {
  if (temperature === 0) return { ids: [order[0]], probabilities: [1] };
  let count = order.length;
  if (topK > 0 && topK < count) {
    const border = logits[order[topK - 1]];
    for (count = topK; count < order.length && logits[order[count]] === border; count++);
  }
  const largest = logits[order[0]];
  let kept = Array.from(order.subarray(0, count));
  let weights = kept.map((id) => Math.exp((logits[id] - largest) / temperature));
  weights = shares(weights);
  if (topP < 1) {
    let sum = 0;
    let keep = 0;
    while (keep < kept.length && sum < topP) sum += weights[keep++];
    kept = kept.slice(0, keep);
    weights = shares(weights.slice(0, keep));
  }
  return { ids: kept, probabilities: weights };
}

function shares(weights) {
  const sum = weights.reduce((a, b) => a + b, 0);
  return weights.map((weight) => weight / sum);
}
