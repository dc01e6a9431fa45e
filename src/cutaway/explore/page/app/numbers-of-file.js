// The numbers of a file's figures: each row is in it once, as float32, and the figures say where theirs begin.

/** Bytes in four parts, the first bytes of all numbers first -> the numbers. */
export function numbersOf(bytes) {
  const parts = new Uint8Array(bytes), count = parts.length / 4, whole = new Uint8Array(parts.length);
  for (let i = 0; i < parts.length; i++) whole[4 * (i % count) + Math.floor(i / count)] = parts[i];
  return new Float32Array(whole.buffer);
}

/** A figure's document as the server sends it, its numbers in place; NaN is null there. */
export function withNumbers(figure, numbers) {
  for (const { cells } of figure.panels.filter((panel) => panel.cells)) {
    const { columns, rows } = cells.values;
    cells.values = rows.map((first) => Array.from(numbers.subarray(first, first + columns), (value) => (Number.isNaN(value) ? null : value)));
  }
  return figure;
}
