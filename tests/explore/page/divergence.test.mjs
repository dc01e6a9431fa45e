import assert from "node:assert/strict";
import { test } from "node:test";
import { divergence, leastDivergence } from "../../../src/cutaway/explore/page/app/divergence.js";
import { softmax } from "../../../src/cutaway/explore/page/app/sampling.js";

/** Logits that look irregular and are the same every time. */
const logits = (count, seed, scale) => Float32Array.from({ length: count }, (_, i) => scale * Math.sin(seed + 12.9898 * (i + 1) ** 1.5));

const top = (numbers, k) => Array.from(softmax(numbers), (probability, id) => ({ id, probability }))
  .sort((one, other) => other.probability - one.probability).slice(0, k);

test("KL of two coins", () => {
  const half = Float32Array.of(0, 0), quarter = Float32Array.of(0, Math.log(3));
  assert.ok(Math.abs(divergence(half, quarter) - 0.5 * Math.log(4 / 3)) < 1e-6);
  assert.ok(Math.abs(divergence(quarter, half) - (Math.log(2) - 0.25 * Math.log(4) - 0.75 * Math.log(4 / 3))) < 1e-6);
});

test("it does not change when all logits grow alike, and is 0 for equal ones", () => {
  const one = logits(50, 1, 3), other = logits(50, 2, 3), higher = one.map((value) => value + 500);
  assert.ok(Math.abs(divergence(one, other) - divergence(higher, other)) < 1e-3);
  assert.equal(divergence(one, one), 0);
  assert.equal(leastDivergence(top(one, 10), top(one, 10)), 0);
});

for (const [count, k, scale] of [[1, 1, 1], [40, 40, 3], [1000, 100, 3], [1000, 100, 9], [20000, 100, 6]]) {
  const one = logits(count, 1, scale), exact = (other) => divergence(one, other);
  const near = one.map((value, i) => value + Math.sin(i)), far = logits(count, 2, scale);
  test(`what is known of ${k} of ${count} tokens never says too much`, () => {
    for (const other of [near, far]) {
      const least = leastDivergence(top(one, k), top(other, k));
      assert.ok(least >= 0 && least <= exact(other) + 1e-5, `${least} and ${exact(other)}`);
      if (k === count) assert.ok(Math.abs(least - exact(other)) < 1e-5);
    }
  });
}

test("where the listed tokens have nearly all of the probability it says nearly all", () => {
  const one = Float32Array.from({ length: 1000 }, (_, i) => -i / 10), other = one.map((value, i) => value + Math.sin(i)), exact = divergence(one, other);
  assert.ok(leastDivergence(top(one, 100), top(other, 100)) > 0.95 * exact);
});
