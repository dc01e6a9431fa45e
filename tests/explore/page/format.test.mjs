import assert from "node:assert/strict";
import { test } from "node:test";
import { vectors } from "./vectors.mjs";
import { cut, exact, format, grouped, megabytesOf, minus, share, short } from "../../../src/cutaway/explore/page/lib/format.js";

for (const [form, value, text] of vectors.formats) {
  test(`Python's format ${form} of ${value} is ${text}`, () => assert.equal(format(value, form), text));
}

test("a float32 is printed with all its digits and no more", () => {
  for (const [text, value] of vectors.exact) assert.equal(Math.fround(Number(exact(value))), value, text);
  assert.equal(exact(Math.fround(0.1)), "0.1");
  assert.equal(exact(-Infinity), "−∞");
});

test("numbers are cut as Python's figures cut them", () => {
  for (const { value, scale, text } of vectors.short) assert.equal(short(value, scale), text);
});

test("what is read has a minus sign", () => {
  assert.deepEqual([grouped(-1e10), short(-2.5, "signed"), format(-0.575, "+.3f"), minus("1.5e-7")], ["−10,000,000,000", "−2.50", "−0.575", "1.5e−7"]);
});

test("a text that is too long keeps the number at its end", () => {
  assert.equal(cut("velocity 80", 11), "velocity 80");
  assert.equal(cut("velocity 80", 9), "veloc… 80");
  assert.equal(cut("velocity 80", 5), "v… 80");
  assert.equal(cut("velocity 80", 4), "vel…");
  assert.equal(cut("␣unbelievable", 6), "␣unbe…");
  assert.equal(cut("🤖🤖🤖", 2), "🤖…");
  assert.equal(cut("long", 1), "l…");
});

test("the size of a file is about that of files with 200, 500 and 1,000 tokens, of 1.3, 5.3 and 18.8 MB", () => {
  assert.deepEqual([200, 500, 1000].map(megabytesOf), [2, 6, 19]);
});

test("a share that is not nothing is never printed as 0", () => {
  assert.deepEqual([0, 1e-9, 4.9e-5, 5e-5, 0.4, 1].map(share), ["0.00 %", "< 0.01 %", "< 0.01 %", "0.01 %", "40.00 %", "100.00 %"]);
});
