import assert from "node:assert/strict";
import { test } from "node:test";

globalThis.location = { protocol: "about:", hash: "" };
const { answer, beginDrawing } = await import("../../../src/cutaway/explore/page/state/session.js");

let asked = 0;
const load = async () => { asked += 1; };

/** What drawing a page does that shows these: how many of them had to be asked for. */
function draw(keys) {
  beginDrawing();
  asked = 0;
  for (const key of keys) answer(key, load);
  return asked;
}

const keys = (name, count) => Array.from({ length: count }, (_, i) => `${name} ${i}`);

test("answers are asked for once, and kept for the views that one comes back to", () => {
  const views = [keys("stack", 30), keys("heads", 30)];
  assert.deepEqual(views.map(draw), [30, 30]);
  assert.deepEqual(views.map(draw), [0, 0]);
});

test("all that a page shows at once stays, however much it is; what it no longer shows goes", () => {
  const many = keys("layers", 1000);
  assert.equal(draw(many), 1000);
  assert.equal(draw([...many, "one more"]), 1);
  assert.equal(draw(many), 0);
  draw(keys("other", 10));
  draw(keys("another", 10));
  assert.ok(draw(many) >= 600);
});
