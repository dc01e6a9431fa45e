import assert from "node:assert/strict";
import { test } from "node:test";
import { tree } from "../../../src/cutaway/explore/page/lib/branches.js";

test("one text is one branch", () => {
  assert.deepEqual(tree([[1, 2, 3]]), [{ ids: [1, 2, 3], kept: true, below: [] }]);
  assert.deepEqual(tree([]), []);
});

test("what texts begin with in common is there once", () => {
  assert.deepEqual(tree([[1, 2, 3], [1, 2, 4, 5]]), [
    { ids: [1, 2], kept: false, below: [{ ids: [3], kept: true, below: [] }, { ids: [4, 5], kept: true, below: [] }] },
  ]);
});

test("a text that others go on from is kept where it ends", () => {
  assert.deepEqual(tree([[1, 2, 3], [1, 2], [7]]), [
    { ids: [1, 2], kept: true, below: [{ ids: [3], kept: true, below: [] }] }, { ids: [7], kept: true, below: [] },
  ]);
});

test("from the root to where a branch is kept, a tree has the texts that it was made of", () => {
  const texts = Array.from({ length: 60 }, (_, i) => Array.from({ length: 1 + ((7 * i) % 5) }, (_, j) => (i * (j + 3)) % 3)).map(Object.freeze);
  const ends = (nodes, before) => nodes.flatMap(({ ids, kept, below }) => [...(kept ? [[...before, ...ids]] : []), ...ends(below, [...before, ...ids])]);
  const found = ends(tree(texts), []).map(String);
  assert.deepEqual([...found].sort(), [...new Set(texts.map(String))].sort());
});
