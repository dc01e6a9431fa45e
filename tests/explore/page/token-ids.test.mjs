import assert from "node:assert/strict";
import { test } from "node:test";
import { typedIds } from "../../../src/cutaway/explore/page/lib/token-ids.js";

test("ids may be typed with spaces, commas and new lines between them", () => {
  assert.deepEqual(typedIds(" 50256 32,\n9379 , 7 "), [50256, 32, 9379, 7]);
  assert.deepEqual(typedIds("1.5"), [1.5]); // which the server refuses
  assert.deepEqual(typedIds(""), []);
  assert.ok(Number.isNaN(typedIds("5 x")[1]));
});
