import assert from "node:assert/strict";
import { test } from "node:test";
import { vectors } from "./vectors.mjs";
import { isLight, kindOf, paint, range, roundEven, setColours } from "../../../src/cutaway/explore/page/draw/colours.js";
import { exact, indexOf, partOf, short } from "../../../src/cutaway/explore/page/draw/cells.js";

test("a float32 is printed with all its digits and no more", () => {
  for (const [text, value] of vectors.exact) assert.equal(Math.fround(Number(exact(value))), value, text);
  assert.equal(exact(Math.fround(0.1)), "0.1");
  assert.equal(exact(-Infinity), "−∞");
});

test("numbers are cut as Python's figures cut them", () => {
  for (const { value, scale, text } of vectors.short) assert.equal(short(value, scale), text);
});

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

test("a tensor's kind is known by its name", () => {
  const named = ["q.5", "scores_raw.11", "attn.0", "mlp_act.3", "tok_emb"].map(kindOf);
  assert.deepEqual(named, ["query", "score", "score", "mlp", "token"]);
  for (const other of ["q.5 * k.5", "B: q.5", "wte.weight", "resid.pre.0", "constructor"]) assert.equal(kindOf(other), undefined);
});

test("rounding is to the even neighbour, as in NumPy", () => {
  assert.deepEqual([0.5, 1.5, 2.5, 2.4, 2.6, 254.5].map(roundEven), [0, 2, 2, 2, 3, 254]);
});

test("colours are the same as in Python", () => {
  setColours(vectors.colours);
  for (const { scale, values, painted } of vectors.painted) {
    const numbers = Float32Array.from(values, (value) => value ?? -Infinity), ends = range(numbers, scale);
    const ours = Array.from(numbers, (value) => [...paint(value, scale, ends)]);
    const off = ours.flat().map((channel, i) => Math.abs(channel - painted.flat()[i]));
    assert.ok(Math.max(...off) <= 3, `${scale}: ${off}`); // one step of 256 at most, where float32 and float64 round apart
  }
  assert.equal(isLight(paint(1, "share", { low: 0, high: 1 })), false);
});
