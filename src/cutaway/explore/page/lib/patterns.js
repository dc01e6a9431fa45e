// A head's pattern, seen without the first token.

/** The weights (n, n), flat, as `cutaway.trace.heads.without_first`: each row's others sum to 1 again, the first row stays. */
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
