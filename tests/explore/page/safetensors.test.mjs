import assert from "node:assert/strict";
import { test } from "node:test";
import { vectors } from "./vectors.mjs";
import { readTensors } from "../../../src/cutaway/explore/page/app/safetensors.js";

test("every encoding that the server sends is read", () => {
  const bytes = Uint8Array.from(atob(vectors.safetensors.file), (char) => char.charCodeAt(0));
  const tensors = readTensors(bytes.buffer);
  for (const [name, { shape, data }] of Object.entries(vectors.safetensors.tensors)) {
    assert.deepEqual(tensors[name].shape, shape);
    assert.deepEqual(Array.from(tensors[name].data), data, name);
  }
});
