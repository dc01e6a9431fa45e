// Cells: a matrix of numbers that knows which elements of which tensor they are.
//
// {tensor, shape, values, rows, columns, offset, steps}: the number of row r and column c is element
// offset + r * steps[0] + c * steps[1] of the tensor of that shape, in C order.

/** Cells of a tensor slice as the API sends it: a matrix, or a vector as one row. */
export function cellsOfSlice({ shape, data, origin }) {
  const rows = shape.length > 1 ? shape[0] : 1;
  const columns = shape.at(-1);
  const step = origin.steps.at(-1);
  return { ...origin, values: data, rows, columns, steps: [origin.steps.at(-2) ?? columns * step, step] };
}

/** Cells of a figure's panel: {values: [[…]], tensor, shape, offset, steps}; null is a masked score. */
export function cellsFromDocument(cells) {
  const { values, tensor, shape, offset, steps } = cells;
  const flat = Float32Array.from(values.flat(), (value) => value ?? -Infinity);
  return { tensor, shape, values: flat, rows: values.length, columns: values[0]?.length ?? 0, offset, steps };
}

/** Cells of numbers computed from tensors: their tensor is the formula, which they fill. */
export function computedCells(formula, values, columns = values.length) {
  const rows = values.length / columns;
  return { tensor: formula, shape: [rows, columns], values: Float32Array.from(values), rows, columns, offset: 0, steps: [columns, 1] };
}

/** Rows [first, end) of cells. */
export function rowsOf(cells, first, end) {
  const values = cells.values.subarray(first * cells.columns, end * cells.columns);
  return { ...cells, values, rows: end - first, offset: cells.offset + first * cells.steps[0] };
}

/** One row of cells. */
export const rowOf = (cells, row) => rowsOf(cells, row, row + 1);

/** The first `count` numbers of a single row. */
export const firstOf = (cells, count) => ({ ...cells, values: cells.values.subarray(0, count), columns: count });

/** A single row folded into rows of so many columns, as the article folds 768 numbers into 32 × 24; the last must be full. */
export function fold(cells, columns) {
  const step = cells.steps[1];
  return { ...cells, rows: cells.columns / columns, columns, steps: [columns * step, step] };
}

/** The index within the tensor of the number of a row and column: [1, 8, 3]. */
export function indexOf(cells, row, column) {
  let flat = cells.offset + row * cells.steps[0] + column * cells.steps[1];
  const index = [];
  for (let axis = cells.shape.length - 1; axis >= 0; axis--) {
    index.unshift(flat % cells.shape[axis]);
    flat = Math.floor(flat / cells.shape[axis]);
  }
  return index;
}

/**
 * The first column of a row of attention weights whose key comes after the query: zeros from there on are masked. Past the
 * end of other cells.
 */
export function firstLater(cells, row) {
  if (!/(attn\.\d+\)?|article\.softmax)$/.test(cells.tensor)) return cells.columns;
  const [query, key] = indexOf(cells, row, 0).slice(-2);
  return query - key + 1;
}

/** The number of a row and column. */
export const valueAt = (cells, row, column) => cells.values[row * cells.columns + column];

/** The common prefix of the indices of all cells: attn.5[1] or attn.5[1,8]. */
export function partOf(cells) {
  if (!cells.values.length) return cells.tensor;
  const first = indexOf(cells, 0, 0);
  const last = indexOf(cells, cells.rows - 1, cells.columns - 1);
  const differs = first.findIndex((index, axis) => index !== last[axis]);
  const shared = differs < 0 ? first : first.slice(0, differs);
  return shared.length ? `${cells.tensor}[${shared.join(",")}]` : cells.tensor;
}

/** The slice of a tensor: select("attn.5", 1, 8, ":") is "attn.5[1,8,:]". */
export const select = (name, ...index) => `${name}[${index.join(",")}]`;

/**
 * The end of one scale for several cells: all but a hundredth of their absolute values are below, as a few numbers of a
 * vector can be a hundred times as large as the others. Undefined while one of them is missing.
 */
export function commonLimit(...all) {
  if (!all.every(Boolean)) return undefined;
  const sizes = Float32Array.from(all.flatMap(({ values }) => Array.from(values, Math.abs))).sort();
  return sizes[Math.floor(0.99 * (sizes.length - 1))] || undefined;
}

/** The maximum absolute difference of two lists of numbers. */
export const farthest = (ours, theirs) => ours.reduce((most, value, i) => Math.max(most, Math.abs(value - theirs[i])), 0);

/** Row and column of the largest absolute value. */
export function largestAt({ values, columns }) {
  const most = values.reduce((best, value, i) => (Math.abs(value) > Math.abs(values[best]) ? i : best), 0);
  return [Math.floor(most / columns), most % columns];
}
