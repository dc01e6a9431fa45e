import assert from "node:assert/strict";
import { test } from "node:test";
import { vectors } from "./vectors.mjs";
import { distribution, ranked, softmax } from "../../../src/cutaway/explore/page/lib/sampling.js";

for (const { name, logits, settings, ids, probabilities } of vectors.sampling) {
  test(`what can be drawn is what Python draws from: ${name}`, () => {
    const numbers = Float32Array.from(logits);
    const found = distribution(numbers, ranked(numbers), settings);
    const ours = new Map(found.ids.map((id, i) => [id, found.probabilities[i]]));
    assert.deepEqual([...ours.keys()].sort((a, b) => a - b), [...ids].sort((a, b) => a - b));
    ids.forEach((id, i) => assert.ok(Math.abs(ours.get(id) - probabilities[i]) < 1e-12));
  });
}

test("probabilities sum to one over the whole vocabulary", () => {
  const sum = softmax(Float32Array.from(vectors.sampling[0].logits)).reduce((a, b) => a + b, 0);
  assert.ok(Math.abs(sum - 1) < 1e-12);
});
