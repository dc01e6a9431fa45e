import assert from "node:assert/strict";
import { test } from "node:test";
import { names, together, written } from "../../../src/cutaway/explore/page/lib/graphemes.js";

const tokens = (...texts) => texts.map((bytes) => ({ bytes }));
const places = (groups) => groups.map((group) => group.map(([, place]) => place));

test("tokens that share a character stand together, others alone", () => {
  const found = together(tokens([0x41], [0xe5, 0x99], [0xa8], [0xe4, 0xba, 0xba], [0xf0, 0x9f], [0xa4], [0x96]));
  assert.deepEqual(places(found), [[0], [1, 2], [3], [4, 5, 6]]);
  assert.deepEqual(found.map(written), ["A", "器", "人", "🤖"]);
});

test("bytes that make no character stand alone", () => {
  assert.deepEqual(places(together(tokens([0x99], [0xe5], [0x41], [0xa8]))), [[0], [1], [2], [3]]);
  assert.deepEqual(together([]), []);
});

test("a token may end one character and begin another", () => {
  assert.deepEqual(places(together(tokens([0xe5, 0x99], [0xa8, 0xe5], [0x99, 0xa8], [0x20]))), [[0, 1, 2], [3]]);
});

test("the pieces of a character are called after it", () => {
  const found = tokens([0x41], [0x20, 0xe5], [0x99], [0xa8]).map((token, i) => ({ ...token, text: `text ${i}` }));
  assert.deepEqual(names(found), ["text 0", "器·1", "器·2", "器·3"]);
  assert.deepEqual(names([{ bytes: [0x99], text: "\\x99" }]), ["\\x99"]);
});
