import assert from "node:assert/strict";
import { test } from "node:test";
import { vectors } from "./vectors.mjs";
import { readTensors, writeTensor } from "../../../src/cutaway/explore/page/lib/safetensors.js";

test("every encoding that the server sends is read", () => {
  const bytes = Uint8Array.from(atob(vectors.safetensors.file), (char) => char.charCodeAt(0));
  const tensors = readTensors(bytes.buffer);
  for (const [name, { shape, data, origin }] of Object.entries(vectors.safetensors.tensors)) {
    assert.deepEqual(tensors[name].shape, shape);
    assert.deepEqual(tensors[name].origin, origin);
    assert.deepEqual(Array.from(tensors[name].data), data, name);
  }
});

test("what is saved is read again, with the words about it", () => {
  const cells = { shape: [2, 3], values: Float32Array.from([1, 2, 3, 4, 5, 6.5]) };
  const file = writeTensor("attn.5 词", cells, { tensor: "attn.5", offset: "81" });
  assert.equal(file.length % 4, 0);
  assert.deepEqual(readTensors(file.buffer), { "attn.5 词": { shape: [2, 3], data: cells.values, origin: undefined } });
});
