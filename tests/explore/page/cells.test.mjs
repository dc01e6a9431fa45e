import assert from "node:assert/strict";
import { test } from "node:test";
import { indexOf, partOf } from "../../../src/cutaway/explore/page/lib/cells.js";

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
