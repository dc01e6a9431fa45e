import assert from "node:assert/strict";
import { test } from "node:test";
import { inWords } from "../../../src/cutaway/explore/page/lib/errors.js";

test("messages of the server are texts of the page, with their values", () => {
  assert.deepEqual(inWords("the text is 601 tokens long; the context holds 512; shorten it"), { name: "error.long", values: { n: 601, all: 512 } });
  assert.deepEqual(inWords("the text is at least 8192 tokens long; the context holds 512; shorten it"), { name: "error.longer", values: { n: 8192, all: 512 } });
  assert.deepEqual(inWords("a token id must be from 0 to 50256, not 999999").values, { name: "a token id", least: 0, most: 50256, value: 999999 });
  assert.deepEqual(inWords("value must be from -1e+12 to 1e+12, not -2e+13").values, { name: "value", least: -1e12, most: 1e12, value: -2e13 });
  assert.deepEqual(inWords("k must be at least 1, not 0").values, { name: "k", least: 1, value: 0 });
  assert.deepEqual(inWords("format must be one of json, svg, not 'x'").values, { name: "format", all: "json, svg", value: "'x'" });
  assert.deepEqual(inWords("index 9 is out of range for axis 0 of attn.0, of size 3").values, { index: 9, axis: 0, name: "attn.0", n: 3 });
  for (const message of ["probs is not finite: the weights make numbers too large for float32", "the logits are not finite: the weights or their dtype make numbers too large"])
    assert.equal(inWords(message).name, "error.weights");
  assert.equal(inWords("with these interventions numbers grow too large for float32; use smaller values").name, "error.large");
});

test("a message that is not known is shown as it is", () => {
  assert.deepEqual(inWords("the moon is full"), { name: "error.other", values: { message: "the moon is full" } });
});
