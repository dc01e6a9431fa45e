// Merge steps of byte-pair encoding.

/** The symbols of a pre-token before the first merge and after each: [["h", "e", "l"], ["h", "el"], …]. */
export function states({ symbols, steps }) {
  const starts = Array.from(symbols, (_, i) => i);
  const rows = [];
  const parts = () => starts.map((start, i) => symbols.slice(start, starts[i + 1]));
  rows.push(parts());
  for (const step of steps) {
    starts.splice(starts.indexOf(step.start + step.left.length), 1);
    rows.push(parts());
  }
  return rows;
}
