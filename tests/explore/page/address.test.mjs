import assert from "node:assert/strict";
import { test } from "node:test";
import { START, changeToText, fromAddress, textToChange, toAddress } from "../../../src/cutaway/explore/page/lib/address.js";
import { vectors } from "./vectors.mjs";

const STATES = [
  START,
  { ...START, view: "attention", ids: [50256, 32, 9379], layer: 5, head: 1, position: 2 },
  { ...START, view: "whatif", ids: [0], language: "zh", changes: [{ kind: "no_mask" }, { kind: "zero_ablate_head", layer: 3, head: 0 }] },
  { ...START, view: "whatif", changes: [{ kind: "mask_value", value: -10000 }, { kind: "scale_head", layer: 0, head: 1, value: 0.5 }] },
  { ...START, view: "whatif", changes: [{ kind: "patch_residual", layer: 1, position: 2, source: [50256, 32, 9379] }] },
  { ...START, view: "article", text: "it & <b>机器</b> #1?", more: { figure: "F40" } },
  { ...START, view: "tokens", more: { text: "a=b & c,d:e #%? 机器人 🤖", piece: "0" } },
];

for (const state of STATES) {
  test(`an address gives back the state that it was made from: ${toAddress(state)}`, () => {
    assert.deepEqual(fromAddress(toAddress(state)), { ...state });
  });
}

for (const { address, state } of vectors.addresses) {
  test(`Python's addresses are read: ${address}`, () => assert.deepEqual(fromAddress(address), { ...START, ...state }));
}

test("ids stand above a text, which is what they were read from", () => {
  assert.deepEqual(fromAddress("#1/play?ids=5&text=A"), { ...START, view: "play", ids: [5] });
  assert.equal(toAddress({ ...START, ids: [5], text: "A" }), "#1/overview?ids=5");
});

test("an address names what differs from the start, readably", () => {
  assert.equal(toAddress(START), "#1/overview");
  assert.equal(toAddress(STATES[1]), "#1/attention?ids=50256,32,9379&layer=5&head=1&position=2");
  assert.equal(toAddress(STATES[2]), "#1/whatif?ids=0&language=zh&do=no_mask&do=zero_ablate_head:layer=3,head=0");
});

test("what is no address, or another version's, is the start", () => {
  for (const address of ["", "#", "#2/play", "#1", "#1/Play", "#play"]) assert.deepEqual(fromAddress(address), { ...START });
});

test("what cannot be understood in an address is left out", () => {
  const state = fromAddress("#1/play?ids=1,x&layer=two&position=-3&do=%25&do=zero_ablate_head:tail=1&do=zero_ablate_mlp:layer=");
  assert.deepEqual(state, { ...START, view: "play", position: -3 });
});

test("changes are written as kind:field=value", () => {
  assert.equal(changeToText({ kind: "attention_knockout", layer: 1, head: null, query: 5, key: 0 }), "attention_knockout:layer=1,query=5,key=0");
  assert.deepEqual(textToChange("attention_knockout:layer=1,query=5,key=0"), { kind: "attention_knockout", layer: 1, query: 5, key: 0 });
  assert.equal(changeToText({ kind: "patch_residual", layer: 1, position: 2, source: [5, 6, 7] }), "patch_residual:layer=1,position=2,source=5.6.7");
  for (const text of ["attention_knockout:layer=NaN", "attention_knockout:layer", "patch_residual:source=5.x", "patch_residual:source=5..6", "patch_residual:source=1e3"]) assert.equal(textToChange(text), null);
});
