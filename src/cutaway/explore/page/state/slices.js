// Tensor slices of the current trace as cells; undefined until the response arrives.

import { cellsOfSlice, rowOf } from "../lib/cells.js";
import { live, tensor } from "./session.js";

/** Cells of a slice, such as "attn.5[1,:,:]". */
export function sliceCells(slice) {
  const found = tensor(slice);
  return found && cellsOfSlice(found);
}

/** One head's matrix: (T, T) or (T, d_head). */
export const headCells = (kind, layer, head) => sliceCells(`${kind}.${layer}[${head},:,:]`);

/** One token's row of it, without the others, which of a long text are megabytes; a file has the matrix. */
export function headRow(kind, layer, head, position) {
  if (live()) return sliceCells(`${kind}.${layer}[${head},${position},:]`);
  const all = headCells(kind, layer, head);
  return all && rowOf(all, position);
}

/** One row of a matrix, such as a token's of "mlp_act.3" or of "wte.weight": (1, n). */
export const rowCells = (name, row) => sliceCells(`${name}[${row},:]`);

/** A whole vector, such as a bias: (1, n). */
export const vectorCells = (name) => sliceCells(`${name}[:]`);
