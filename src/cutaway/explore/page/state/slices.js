// Tensor slices of the current trace as cells; undefined until the response arrives.

import { cellsOfSlice } from "../lib/cells.js";
import { tensor } from "./session.js";

/** Cells of a slice, such as "attn.5[1,:,:]". */
export function sliceCells(slice) {
  const found = tensor(slice);
  return found && cellsOfSlice(found);
}

/** One head's matrix: (T, T) or (T, d_head). */
export const headCells = (kind, layer, head) => sliceCells(`${kind}.${layer}[${head},:,:]`);

/** One row of a matrix, such as a token's of "mlp_act.3" or of "wte.weight": (1, n). */
export const rowCells = (name, row) => sliceCells(`${name}[${row},:]`);

/** A whole vector, such as a bias: (1, n). */
export const vectorCells = (name) => sliceCells(`${name}[:]`);
