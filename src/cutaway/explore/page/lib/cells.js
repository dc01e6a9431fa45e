// Numbers as text, and cells: numbers that know where in their tensor they stand.

/** Which part of its tensor the cells are: attn.5[1] or attn.5[1,8], by the places that all of them share. */
export function partOf(cells) {
  if (!cells.values.length) return cells.tensor;
  const first = indexOf(cells, 0, 0);
  const last = indexOf(cells, cells.rows - 1, cells.columns - 1);
  const differs = first.findIndex((place, axis) => place !== last[axis]);
  const shared = differs < 0 ? first : first.slice(0, differs);
  return shared.length ? `${cells.tensor}[${shared.join(",")}]` : cells.tensor;
}

/** Cells of a whole tensor's selection as it came from the server: rows × columns from `offset` on. */
export function cellsOf(tensor, shape, data, rows, columns, offset = 0, steps = [columns, 1]) {
  return { tensor, shape, values: data, rows, columns, offset, steps };
}

/** Numbers that were computed from tensors, under their formula: they stand in no tensor. */
export function computedCells(formula, values, columns = values.length) {
  const rows = values.length / columns;
  return cellsOf(formula, [rows, columns], Float32Array.from(values), rows, columns);
}

/** The largest of the differences between two lists of numbers. */
export const farthest = (ours, theirs) => ours.reduce((most, value, i) => Math.max(most, Math.abs(value - theirs[i])), 0);

/** Cells of a document's panel: {values: [[…]], tensor, shape, offset, steps}. */
export function cellsFromDocument(cells) {
  const { values, tensor, shape, offset, steps } = cells;
  const flat = Float32Array.from(values.flat(), (value) => value ?? -Infinity);
  return { tensor, shape, values: flat, rows: values.length, columns: values[0]?.length ?? 0, offset, steps };
}

/** Where in the tensor the number of a row and column stands: [1, 8, 3]. */
export function indexOf(cells, row, column) {
  let flat = cells.offset + row * cells.steps[0] + column * cells.steps[1];
  const index = [];
  for (let axis = cells.shape.length - 1; axis >= 0; axis--) {
    index.unshift(flat % cells.shape[axis]);
    flat = Math.floor(flat / cells.shape[axis]);
  }
  return index;
}

export const valueAt = (cells, row, column) => cells.values[row * cells.columns + column];

/** The selection of one row of a tensor: "attn.5[1,8,:]". */
export const select = (name, ...index) => `${name}[${index.join(",")}]`;
