import assert from "node:assert/strict";
import { test } from "node:test";
import { vectors } from "./vectors.mjs";
import { withoutFirst } from "../../../src/cutaway/explore/page/lib/patterns.js";

for (const { n, weights, shown } of vectors.patterns) {
  test(`a pattern of ${n} tokens without the first is Python's`, () => {
    const given = Float32Array.from(weights);
    const found = withoutFirst(given, n);
    found.forEach((weight, i) => assert.ok(Math.abs(weight - shown[i]) < 1e-6));
    assert.deepEqual(given, Float32Array.from(weights)); // which is left as it was
  });
}
