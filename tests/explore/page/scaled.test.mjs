import assert from "node:assert/strict";
import { test } from "node:test";
import { inLines, matricesOf, strips } from "../../../src/cutaway/explore/page/draw/scaled.js";

test("the matrices of a table are found, sums and vectors are not", () => {
  const rows = [["wte.weight", "50,257 × 768", {}], ["h.*.ln_1.weight", "768", {}], ["h.*.mlp.c_fc.weight", "768 × 3,072", {}], [{ en: "one block", zh: "一个块" }, "", {}]];
  assert.deepEqual(matricesOf(rows), [
    { tensor: "wte.weight", name: "wte.weight", inBlock: false, rows: 50257, columns: 768 },
    { tensor: "h.*.mlp.c_fc.weight", name: "mlp.c_fc.weight", inBlock: true, rows: 768, columns: 3072 },
  ]);
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
