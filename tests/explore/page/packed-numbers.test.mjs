import assert from "node:assert/strict";
import { test } from "node:test";
import { unpackFigure, unpackNumbers, unpackTensor } from "../../../src/cutaway/explore/page/lib/packed-numbers.js";
import { readTensors } from "../../../src/cutaway/explore/page/lib/safetensors.js";

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

test("a tensor's rows are put in their places, in a file with its shape and its origin", () => {
  const origin = { tensor: "x", shape: [9, 2], offset: 0, steps: [2, 1] };
  const packed = { name: "x[0,:,:]", shape: [1, 3, 2], metadata: { "x[0,:,:]": JSON.stringify(origin) }, values: { columns: 2, rows: [2, 0, 2] } };
  const data = Float32Array.of(3e9, NaN, 1, -0.1, 3e9, NaN);
  assert.deepEqual(readTensors(unpackTensor(packed, NUMBERS).buffer), { "x[0,:,:]": { shape: [1, 3, 2], data, origin } });
});
