// Figures and tensors of an exported file: each row of numbers is stored once, as float32, and they refer to rows by offset.

import { writeTensor } from "./safetensors.js";

/** Undo the byte shuffle: all first bytes, then all second bytes and so on -> Float32Array. */
export function unpackNumbers(bytes) {
  const shuffled = new Uint8Array(bytes);
  const count = shuffled.length / 4;
  const unshuffled = new Uint8Array(shuffled.length);
  for (let i = 0; i < shuffled.length; i++) unshuffled[4 * (i % count) + Math.floor(i / count)] = shuffled[i];
  return new Float32Array(unshuffled.buffer);
}

/** Restore a figure's document as the server sends it, with its numbers; NaN becomes null, as in JSON. */
export function unpackFigure(figure, numbers) {
  for (const { cells } of figure.panels.filter((panel) => panel.cells)) {
    const { columns, rows } = cells.values;
    cells.values = rows.map((first) => Array.from(numbers.subarray(first, first + columns), (value) => (Number.isNaN(value) ? null : value)));
  }
  return figure;
}

/** Restore a slice of a tensor as the server sends it, a safetensors file. */
export function unpackTensor({ name, shape, metadata, values: { columns, rows } }, numbers) {
  const values = new Float32Array(rows.length * columns);
  rows.forEach((first, row) => values.set(numbers.subarray(first, first + columns), row * columns));
  return writeTensor(name, { shape, values }, metadata);
}
