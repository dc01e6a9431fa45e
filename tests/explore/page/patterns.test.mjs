import assert from "node:assert/strict";
import { test } from "node:test";
import { vectors } from "./vectors.mjs";
import { links, telling, withoutFirst } from "../../../src/cutaway/explore/page/lib/patterns.js";

for (const { n, weights, shown } of vectors.patterns) {
  test(`a pattern of ${n} tokens without the first is Python's`, () => {
    const given = Float32Array.from(weights);
    const found = withoutFirst(given, n);
    found.forEach((weight, i) => assert.ok(Math.abs(weight - shown[i]) < 1e-6));
    assert.deepEqual(given, Float32Array.from(weights)); // which is left as it was
  });
}

const LAYERS = [ // of the query 4: the largest weight on each key, and its head
  { weights: [0.9, 0.1, 0.8, 0.2, 0.3], heads: [0, 0, 1, 1, 0] },
  { weights: [0.1, 0.6, 0.2, 0.9, 0.1], heads: [0, 1, 0, 2, 0] },
  { weights: [0.9, 0.2, 0.4, 0.2, 0.1], heads: [0, 0, 3, 0, 0] },
];

test("links are those of all layers, the heaviest first", () => {
  const found = links(LAYERS);
  assert.equal(found.length, 15);
  assert.deepEqual(found[3], { layer: 0, head: 1, key: 2, weight: 0.8 });
});

test("the link that tells most reaches back farthest of those with half of a head's weight, not to the first token, the one before or itself", () => {
  assert.deepEqual(telling(LAYERS, 4), { layer: 1, head: 1, key: 1, weight: 0.6 });
});

test("without a heavy one it is the heaviest, and in a text of three tokens there is none", () => {
  assert.deepEqual(telling(LAYERS.slice(2), 4), { layer: 0, head: 3, key: 2, weight: 0.4 });
  assert.equal(telling([{ weights: [0.2, 0.7, 0.1], heads: [0, 0, 0] }], 2), undefined);
});
