// Parts of the text's tensors as cells: what is asked for, and where each number stands in the whole tensor.

import { cellsOf } from "../lib/cells.js";
import { ids, model, tensor } from "./session.js";

/** The shape of a tensor of a block after the tokens that were read. */
export function shapeOf(kind) {
  const { n_embd: d, n_head: heads, n_inner: inner } = model.value.config;
  const tokens = ids.value.length;
  if (["q", "k", "v", "z"].includes(kind)) return [heads, tokens, d / heads];
  if (["scores_raw", "scores", "masked", "attn"].includes(kind)) return [heads, tokens, tokens];
  if (["mlp_pre", "mlp_act"].includes(kind)) return [tokens, inner];
  if (["ln1.mean", "ln1.rstd", "ln2.mean", "ln2.rstd", "ln_f.mean", "ln_f.rstd"].includes(kind)) return [tokens, 1];
  return [tokens, kind === "qkv" ? 3 * d : d];
}

/** A head of a layer, all of it: cells (T, T) or (T, dh); undefined until it is there. */
export function headCells(kind, layer, head) {
  const shape = shapeOf(kind);
  const [, rows, columns] = shape;
  const found = tensor(`${kind}.${layer}[${head},:,:]`);
  return found && cellsOf(`${kind}.${layer}`, shape, found.data, rows, columns, head * rows * columns);
}

/** One row of such cells, as cells (1, n). */
export function rowOf(cells, row) {
  const values = cells.values.subarray(row * cells.columns, (row + 1) * cells.columns);
  return { ...cells, values, rows: 1, offset: cells.offset + row * cells.steps[0] };
}

/** The first `count` numbers of cells with one row. */
export const firstOf = (cells, count) => ({ ...cells, values: cells.values.subarray(0, count), columns: count });

/** A token's row of a tensor (T, n), named with its layer ("mlp_act.3"): cells (1, n). */
export function tokenCells(name, position) {
  const kind = name.replace(/\.\d+$/, "");
  const shape = shapeOf(kind);
  const columns = shape[1];
  const found = tensor(`${name}[${position},:]`);
  return found && cellsOf(name, shape, found.data, 1, columns, position * columns);
}

/** A whole tensor (T, n). */
export function wholeCells(name) {
  const shape = shapeOf(name.replace(/\.\d+$/, ""));
  const found = tensor(`${name}[:,:]`);
  return found && cellsOf(name, shape, found.data, ...shape);
}

/** A row of a checkpoint's matrix: "wte.weight", shape [V, d]. */
export function weightRow(name, shape, row) {
  const found = tensor(`${name}[${row},:]`);
  return found && cellsOf(name, shape, found.data, 1, shape[1], row * shape[1]);
}

/** A whole vector of the checkpoint, such as a bias: cells (1, n). */
export function weightVector(name, length) {
  const found = tensor(`${name}[:]`);
  return found && cellsOf(name, [length], found.data, 1, length);
}

/** A vector as a sheet of so many columns, as the article folds 768 cells into 32 × 24; the last row must be full. */
export const sheet = (cells, columns) => ({ ...cells, rows: cells.columns / columns, columns, steps: [columns * cells.steps[1], cells.steps[1]] });
