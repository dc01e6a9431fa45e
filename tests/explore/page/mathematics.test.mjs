import assert from "node:assert/strict";
import { test } from "node:test";
import { ACTIVATIONS, divisorOf } from "../../../src/cutaway/explore/page/lib/mathematics.js";
import { vectors } from "./vectors.mjs";

test("activations are those of Python", () => {
  assert.deepEqual(Object.keys(ACTIVATIONS), Object.keys(vectors.activations));
  for (const [name, points] of Object.entries(vectors.activations)) {
    for (const [x, y] of points) assert.ok(Math.abs(ACTIVATIONS[name].at(x) - y) < 2e-6, `${name} of ${x}`);
  }
});

test("scores are divided as in Python", () => {
  for (const { config, layer, value } of vectors.divisors) assert.equal(divisorOf(config, layer).value, value);
  assert.deepEqual(vectors.divisors.map(({ config, layer }) => divisorOf(config, layer).divisor), ["3 · √64", "√64", "3", "1"]);
});
