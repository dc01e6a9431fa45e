import assert from "node:assert/strict";
import { test } from "node:test";
import { vectors } from "./vectors.mjs";
import { computedCells } from "../../../src/cutaway/explore/page/lib/cells.js";
import { isLight, kindOf, paint, paintAll, range, roundEven, setColours } from "../../../src/cutaway/explore/page/lib/colours.js";

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
    const numbers = Float32Array.from(values, (value) => value ?? -Infinity);
    const ends = range(numbers, scale);
    const ours = Array.from(numbers, (value) => [...paint(value, scale, ends)]);
    const off = ours.flat().map((channel, i) => Math.abs(channel - painted.flat()[i]));
    assert.ok(Math.max(...off) <= 3, `${scale}: ${off}`); // one step of 256 at most, where float32 and float64 round apart
  }
  assert.equal(isLight(paint(1, "share", { low: 0, high: 1 })), false);
});

test("under a causal mask a zero of a later token has no colour, and one of an earlier token has", () => {
  setColours(vectors.colours);
  const ends = { low: 0, high: 1 };
  const values = Float32Array.of(1, 0, 0, 0, 1, 0.5, 0.5, 0, 0.5); // one weight is above the diagonal, as without a mask
  const pixels = new Uint8Array(paintAll(computedCells("attn.5", values, 3), "share", ends).buffer);
  const expected = Array.from(values, (value, i) => [...paint([1, 2].includes(i) ? -Infinity : value, "share", ends), 255]).flat();
  assert.deepEqual([...pixels], expected);
  const unmasked = new Uint8Array(paintAll(computedCells("z.5", values, 3), "share", ends).buffer);
  assert.deepEqual([...unmasked], Array.from(values, (value) => [...paint(value, "share", ends), 255]).flat());
});
