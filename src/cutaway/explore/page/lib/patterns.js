// Attention patterns.

/** Weights (n, n), flat, renormalised without the first key, as `cutaway.trace.heads.without_first`; the first row stays. */
export function withoutFirst(weights, n) {
  const shown = weights.slice();
  for (let start = n; start < shown.length; start += n) {
    const row = shown.subarray(start, start + n);
    row[0] = 0;
    const rest = row.reduce((sum, weight) => sum + weight, 0);
    if (rest > 0) row.forEach((weight, key) => { row[key] = weight / rest; });
  }
  return shown;
}

const known = new WeakMap(); // layers -> their links

/** Every link of `summary`, [{weights, heads}] by layer: {layer, head, key, weight}, the heaviest first. */
export function links(layers) {
  if (!known.has(layers)) {
    const all = layers.flatMap(({ weights, heads }, layer) => weights.map((weight, key) => ({ layer, head: heads[key], key, weight })));
    known.set(layers, all.sort((a, b) => b.weight - a.weight));
  }
  return known.get(layers);
}

const MOST_OF_IT = 0.5; // of a head's weight

/**
 * The link that tells most: of those to tokens that are neither the first, nor the one before, nor the token itself, the
 * one that reaches back farthest of those that take half of their head's weight, or else the heaviest. Undefined if there is none.
 */
export function telling(layers, query) {
  const others = links(layers).filter(({ key }) => key > 0 && key < query - 1);
  const heavy = others.filter(({ weight }) => weight >= MOST_OF_IT);
  return heavy.sort((a, b) => a.key - b.key)[0] ?? others[0];
}
