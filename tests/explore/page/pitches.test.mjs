// Names of notes, the way of the arrow keys, and how the weights of tokens become weights of notes.

import assert from "node:assert/strict";
import { test } from "node:test";
import { frequency, isBlack, lateEnds, neighbour, onNotes, pitchName } from "../../../src/cutaway/explore/page/lib/pitches.js";
import { vectors } from "./vectors.mjs";

const NOTES = [[0, 1, 60, 80], [0.5, 1, 64, 80], [0.5, 1, 67, 80], [1, 2, 62, 80]];

test("pitches are named as Python names them", () => {
  assert.deepEqual(Array.from({ length: 128 }, (_, pitch) => pitchName(pitch)), vectors.pitches);
});

test("A4 sounds at 440 hertz, and an octave higher at twice that", () => {
  assert.equal(frequency(69), 440);
  assert.equal(frequency(81), 880);
});

test("five keys of an octave are black", () => {
  assert.deepEqual(Array.from({ length: 12 }, (_, i) => i).filter((i) => isBlack(60 + i)), [1, 3, 6, 8, 10]);
});

test("arrows to the sides move in time and stop at the ends", () => {
  assert.equal(neighbour(NOTES, 1, "ArrowRight"), 2);
  assert.equal(neighbour(NOTES, 3, "ArrowRight"), 3);
  assert.equal(neighbour(NOTES, 0, "ArrowLeft"), 0);
  assert.equal(neighbour(NOTES, 2, "Home"), 0);
  assert.equal(neighbour(NOTES, 0, "End"), 3);
});

test("arrows up and down find the nearest note that is higher or lower", () => {
  assert.equal(neighbour(NOTES, 1, "ArrowUp"), 2);
  assert.equal(neighbour(NOTES, 2, "ArrowDown"), 1);
  assert.equal(neighbour(NOTES, 2, "ArrowUp"), 2);
});

test("weights on notes and elsewhere are all weights", () => {
  const { sums, rest } = onNotes(Float32Array.of(0.125, 0.25, 0.5, 0.125), [-1, 0, 1, 0]);
  assert.equal(rest, 0.125);
  assert.deepEqual([...sums], [[0, { weight: 0.375, tokens: [1, 3] }], [1, { weight: 0.5, tokens: [2] }]]);
});

test("the late peak and the late low are of the second half, the first of equals", () => {
  const notes = [90, 20, 60, 72, 50, 72, 50].map((pitch, i) => [i, i + 1, pitch, 80]);
  assert.deepEqual(lateEnds(notes), [3, 4]);
  assert.deepEqual(lateEnds(notes.slice(0, 2)), [1, 1]);
  assert.deepEqual(lateEnds(notes.slice(0, 1)), [0, 0]);
});
