import assert from "node:assert/strict";
import { test } from "node:test";
import { vectors } from "./vectors.mjs";
import { computedCells } from "../../../src/cutaway/explore/page/lib/cells.js";
import { headColour, isLight, kindOf, paint, paintAll, range, roundEven, setColours } from "../../../src/cutaway/explore/page/lib/colours.js";

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

test("the first head has the first colour, and one after the last begins again", () => {
  setColours(vectors.colours);
  const { heads } = vectors.colours;
  assert.equal(headColour(0), heads[0]);
  assert.equal(headColour(heads.length + 1), heads[1]);
});

const luminance = (channels) => [...channels].map((channel) => channel / 255).map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4))
  .reduce((sum, part, i) => sum + [0.2126, 0.7152, 0.0722][i] * part, 0);

/** The contrast of two colours as accessibility guidelines compute it, 1 to 21. */
function contrast(one, two) {
  const [low, high] = [luminance(one), luminance(two)].sort((a, b) => a - b);
  return (high + 0.05) / (low + 0.05);
}

test("numbers can be read on every colour of a scale", () => {
  for (const isDark of [false, true]) {
    setColours(vectors.colours, isDark);
    for (const scale of ["share", "signed"]) {
      for (let step = 0; step <= 255; step++) {
        const at = paint(step / 255, scale, { low: 0, high: 1 });
        const ink = isLight(at) ? [0x1f, 0x24, 0x30] : [255, 255, 255];
        assert.ok(contrast(at, ink) >= 3, `${scale} ${step}: ${contrast(at, ink)}`);
      }
    }
  }
});
