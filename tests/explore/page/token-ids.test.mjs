import assert from "node:assert/strict";
import { test } from "node:test";
import { typedIds } from "../../../src/cutaway/explore/page/lib/token-ids.js";

test("ids may be typed with spaces, commas and new lines between them", () => {
  assert.deepEqual(typedIds(" 50256 32,\n9379 , 7 ", 50257), { ids: [50256, 32, 9379, 7] });
  assert.deepEqual(typedIds("", 50257), { ids: [] });
});

test("the first word that is no id is named", () => {
  for (const wrong of ["x", "1.5", "-1", "50257", "1e3", "0x10", "Infinity", "NaN"]) assert.deepEqual(typedIds(`5 ${wrong} y`, 50257), { wrong });
  assert.deepEqual(typedIds("50256", 50257), { ids: [50256] });
});
