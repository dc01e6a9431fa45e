import assert from "node:assert/strict";
import { test } from "node:test";
import { unpackFigure, unpackNumbers } from "../../../src/cutaway/explore/page/lib/packed-figures.js";

const NUMBERS = Float32Array.of(1, -0.1, 3e9, NaN, 5, 1e-20);

test("numbers are put together from their first, second, third and fourth bytes", () => {
  const bytes = new Uint8Array(NUMBERS.buffer);
  const apart = [0, 1, 2, 3].flatMap((part) => [...bytes].filter((_, i) => i % 4 === part));
  assert.deepEqual(unpackNumbers(Uint8Array.from(apart).buffer), NUMBERS);
  assert.equal(unpackNumbers(new ArrayBuffer(0)).length, 0);
});

test("a figure's rows are put in their places", () => {
  const figure = { id: "F40", panels: [{ kind: "note" }, { kind: "grid", cells: { tensor: "x", values: { columns: 2, rows: [2, 0, 2] } } }] };
  const [note, { cells }] = unpackFigure(figure, NUMBERS).panels;
  assert.deepEqual(note, { kind: "note" });
  assert.deepEqual(cells, { tensor: "x", values: [[3e9, null], [1, Math.fround(-0.1)], [3e9, null]] });
});
