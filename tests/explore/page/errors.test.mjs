import assert from "node:assert/strict";
import { test } from "node:test";
import { inWords } from "../../../src/cutaway/explore/page/lib/errors.js";

test("messages of the server are texts of the page, with their values", () => {
  assert.deepEqual(inWords("the text is 601 tokens long; the context holds 512; shorten it"), { name: "error.long", values: { n: "601", all: "512" } });
  assert.deepEqual(inWords("the text is at least 8192 tokens long; the context holds 512; shorten it"), { name: "error.longer", values: { n: "8192", all: "512" } });
  assert.deepEqual(inWords("a token id must be from 0 to 50256, not 999999").values, { name: "a token id", least: "0", most: "50256", value: "999999" });
  assert.equal(inWords("with these interventions numbers grow too large for float32; use smaller values").name, "error.large");
});

test("a message that is not known is shown as it is", () => {
  assert.deepEqual(inWords("the moon is full"), { name: "error.other", values: { message: "the moon is full" } });
});
