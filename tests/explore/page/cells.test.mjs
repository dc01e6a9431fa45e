import assert from "node:assert/strict";
import { test } from "node:test";
import { cellsOfSlice, commonLimit, computedCells, firstLater, fold, indexOf, partOf, rowOf, rowsOf, valueAt } from "../../../src/cutaway/explore/page/lib/cells.js";

test("a cell knows where in its tensor it stands", () => {
  const cells = { shape: [3, 5, 7], offset: 35 + 2, steps: [7, 1] };
  assert.deepEqual(indexOf(cells, 4, 3), [1, 4, 5]);
});

test("a part of a tensor is named by the places that all of its numbers share", () => {
  const part = (shape, offset, rows, columns, steps) => partOf({ tensor: "attn.5", shape, offset, rows, columns, steps, values: [0] });
  assert.equal(part([3, 9, 9], 81, 9, 9, [9, 1]), "attn.5[1]");
  assert.equal(part([3, 9, 9], 81 + 72, 1, 9, [9, 1]), "attn.5[1,8]");
  assert.equal(part([3, 9, 9], 5, 1, 1, [1, 1]), "attn.5[0,0,5]");
  assert.equal(part([9, 4], 0, 9, 4, [4, 1]), "attn.5");
});

const HEAD = cellsOfSlice({
  shape: [3, 3], data: Float32Array.from({ length: 9 }, (_, i) => i), origin: { tensor: "attn.5", shape: [2, 3, 3], offset: 9, steps: [3, 1] },
});

test("a slice of a tensor is cells with its place in the tensor", () => {
  assert.deepEqual([HEAD.rows, HEAD.columns, HEAD.tensor], [3, 3, "attn.5"]);
  assert.deepEqual(indexOf(HEAD, 2, 1), [1, 2, 1]);
});

test("of attention weights each row knows which of its keys come after its query", () => {
  const first = (cells) => Array.from({ length: cells.rows }, (_, row) => firstLater(cells, row));
  assert.deepEqual(first(HEAD), [1, 2, 3]);
  assert.deepEqual(first({ ...HEAD, tensor: "without_first(attn.5)" }), [1, 2, 3]);
  assert.deepEqual(first({ ...HEAD, tensor: "attn.5 - B: attn.5" }), [1, 2, 3]);
  const heads = { tensor: "attn.5", shape: [2, 3, 3], offset: 3, steps: [9, 1], rows: 2, columns: 3 };
  assert.deepEqual(first(heads), [2, 2]); // a row for each head, all of one query
  const corner = { tensor: "attn.5", shape: [2, 3, 3], offset: 9 + 2, steps: [3, 1], rows: 2, columns: 1 };
  assert.deepEqual(first(corner), [-1, 0]); // the last key of the first queries
  assert.deepEqual(first(computedCells("article.softmax", [1, 0, 0.5, 0.5], 2)), [1, 2]);
  for (const tensor of ["scores.5", "attn.5[1] * v.5[1]", "attn.5[:, 8] @ notes"]) assert.deepEqual(first({ ...HEAD, tensor }), [3, 3, 3]);
});

test("a vector is one row", () => {
  const row = cellsOfSlice({ shape: [4], data: Float32Array.of(5, 6, 7, 8), origin: { tensor: "ln_f", shape: [3, 4], offset: 8, steps: [1] } });
  assert.deepEqual([row.rows, row.columns], [1, 4]);
  assert.deepEqual(indexOf(row, 0, 3), [2, 3]);
  const folded = fold(row, 2);
  assert.deepEqual([folded.rows, folded.columns, valueAt(folded, 1, 0)], [2, 2, 7]);
  assert.deepEqual(indexOf(folded, 1, 0), [2, 2]);
});

test("rows of cells keep their place", () => {
  assert.deepEqual([...rowOf(HEAD, 1).values], [3, 4, 5]);
  assert.deepEqual(indexOf(rowOf(HEAD, 1), 0, 2), [1, 1, 2]);
  const column = cellsOfSlice({ shape: [3, 1], data: Float32Array.of(1, 2, 3), origin: { tensor: "mlp_act.0", shape: [3, 8], offset: 5, steps: [8, 1] } });
  assert.deepEqual([...rowsOf(column, 1, 3).values], [2, 3]);
  assert.deepEqual(indexOf(rowsOf(column, 1, 3), 1, 0), [2, 5]);
});

test("a common scale ends where all but a hundredth of the numbers are", () => {
  const many = computedCells("many", Array.from({ length: 99 }, (_, i) => (i % 2 ? i : -i)));
  assert.equal(commonLimit(many, computedCells("one", [5000])), 98);
  assert.equal(commonLimit(computedCells("some", [1, -3, 2])), 2);
  assert.equal(commonLimit(many, undefined), undefined);
  assert.equal(commonLimit(computedCells("none", [0, 0])), undefined);
});
