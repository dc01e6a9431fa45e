import assert from "node:assert/strict";
import { test } from "node:test";
import { vectors } from "./vectors.mjs";
import { states } from "../../../src/cutaway/explore/page/lib/merges.js";

for (const { text, piece, states: expected } of vectors.pieces) {
  test(`the merges of ${JSON.stringify(text)}`, () => assert.deepEqual(states(piece), expected));
}
