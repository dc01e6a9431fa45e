import assert from "node:assert/strict";
import { test } from "node:test";
import { vectors } from "./vectors.mjs";
import { format } from "../../../src/cutaway/explore/page/draw/format.js";

for (const [form, value, text] of vectors.formats) {
  test(`Python's format ${form} of ${value} is ${text}`, () => assert.equal(format(value, form), text));
}
