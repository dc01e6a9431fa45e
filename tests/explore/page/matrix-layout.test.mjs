import assert from "node:assert/strict";
import { test } from "node:test";
import { vectors } from "./vectors.mjs";
import { inLines, matricesOf, strips } from "../../../src/cutaway/explore/page/lib/matrix-layout.js";

test("the matrices of a model are found, vectors are not", () => {
  const { tensors, parameters } = vectors.parameters;
  const matrices = matricesOf(tensors);
  const vectorsOnly = tensors.filter(({ shape }) => shape.length === 1);
  assert.deepEqual(matrices.slice(0, 3), [
    { tensor: "wte.weight", name: "wte.weight", inBlock: false, rows: 50257, columns: 768, numbers: 50257 * 768 },
    { tensor: "wpe.weight", name: "wpe.weight", inBlock: false, rows: 1024, columns: 768, numbers: 1024 * 768 },
    { tensor: "h.*.attn.c_attn.weight", name: "attn.c_attn.weight", inBlock: true, rows: 768, columns: 2304, numbers: 12 * 768 * 2304 },
  ]);
  const rest = vectorsOnly.reduce((sum, { shape, copies }) => sum + shape[0] * copies, 0);
  assert.equal(matrices.reduce((sum, { numbers }) => sum + numbers, rest), parameters);
});

for (const [rows, columns] of [[50257, 768], [768, 3072], [10, 10], [1, 960], [961, 1]]) {
  test(`the strips of a ${rows} × ${columns} matrix have its area`, () => {
    const cut = strips({ rows, columns }, 0.5, 480);
    assert.ok(cut.every(({ wide, high }) => wide > 0 && wide <= 480 && high === 0.5 * Math.min(rows, columns)));
    assert.ok(Math.abs(cut.reduce((sum, { wide, high }) => sum + wide * high, 0) - 0.25 * rows * columns) < 1e-6);
  });
}

test("what does not fit into a line begins the next", () => {
  const { placed, high } = inLines([{ wide: 3, high: 1 }, { wide: 1, high: 2 }, { wide: 4, high: 1 }, { wide: 9, high: 1 }], 4);
  assert.deepEqual(placed.map(({ x, y }) => [x, y]), [[0, 0], [3, 0], [0, 2], [0, 3]]);
  assert.equal(high, 4);
});
