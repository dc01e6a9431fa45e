// Attention patterns without the first token.

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
