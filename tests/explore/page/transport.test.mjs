import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { httpTransport } from "../../../src/cutaway/explore/page/state/transport.js";

const MOST = 2; // traces that this server keeps
const CHANGE = [{ kind: "zero_ablate_mlp", layer: 1 }];
let kept;
let posted;

const name = ({ ids, interventions }) => `trace${ids.join("")}${interventions.length}`;
const reply = (body, status = 200) => new Response(JSON.stringify(body), { status });

/** A server with room for few traces. */
globalThis.fetch = async (path, { body } = {}) => {
  if (path === "api/traces") return read(JSON.parse(body));
  const wanted = path.match(/trace\d+/g) ?? [];
  if (!wanted.every((one) => kept.includes(one))) return reply({ error: "no such trace" }, 404);
  return path.includes("nonsense") ? reply({ error: "no such address" }, 404) : reply({ path });
};

function read({ ids, interventions = [] }) {
  if (ids.includes(99)) return new Response('{"layers_done":1,"layers":2}\n{"error":"too large"}\n');
  posted.push({ ids, interventions });
  kept = [...kept.filter((one) => one !== name({ ids, interventions })), name({ ids, interventions })].slice(-MOST);
  return new Response(`{"layers_done":1,"layers":1}\n${JSON.stringify({ trace: name({ ids, interventions }), ids, interventions })}\n`);
}

beforeEach(() => { kept = []; posted = []; });

const three = async () => {
  const all = [{ ids: [1, 2], interventions: CHANGE }, { ids: [3], interventions: [] }, { ids: [4], interventions: [] }];
  const found = [];
  for (const request of all) found.push((await httpTransport.trace(request)).trace);
  return found;
};

test("a trace that the server has let go of is read again, as it was, and answers", async () => {
  const [lost] = await three();
  posted = [];
  assert.deepEqual(await httpTransport.json(`traces/${lost}/surprisal`), { path: `api/traces/${lost}/surprisal` });
  assert.deepEqual(posted, [{ ids: [1, 2], interventions: CHANGE }]);
  assert.deepEqual(await httpTransport.post(`traces/${lost}/cache_benchmark`, {}), { path: `api/traces/${lost}/cache_benchmark` });
  assert.equal(posted.length, 1);
});

test("two that are asked for together are both read again", async () => {
  const [one, other] = await three();
  kept = []; // a server that was started anew
  const path = `traces/${one}/divergence?with=${other}`;
  assert.deepEqual(await httpTransport.json(path), { path: `api/${path}` });
});

test("what is not there afterwards either is an error, and is asked for no third time", async () => {
  const [lost] = await three();
  posted = [];
  await assert.rejects(httpTransport.json(`traces/${lost}/nonsense`), { message: "no such address", status: 404 });
  assert.equal(posted.length, 1);
  await assert.rejects(httpTransport.json("nonsense"), { message: "no such address", status: 404 });
  assert.equal(posted.length, 1);
});

test("progress is told, and what went wrong on the way is an error", async () => {
  const seen = [];
  await httpTransport.trace({ ids: [5] }, (done, layers) => seen.push([done, layers]));
  await assert.rejects(httpTransport.trace({ ids: [99] }, (done, layers) => seen.push([done, layers])), { message: "too large", status: 400 });
  assert.deepEqual(seen, [[1, 1], [1, 2]]);
});

test("more tensors than one question may name are asked for in several", async () => {
  const fetchBefore = globalThis.fetch;
  const asked = [];
  globalThis.fetch = async (path) => {
    const selections = new URLSearchParams(path.split("?")[1]).getAll("sel");
    asked.push(selections.length);
    return new Response(file(selections));
  };
  const selections = Array.from({ length: 600 }, (_, i) => `resid.pre.${i}[0,:]`);
  const found = await httpTransport.tensors("text", selections);
  globalThis.fetch = fetchBefore;
  assert.deepEqual(asked, [256, 256, 88]);
  assert.deepEqual(Object.keys(found).sort(), [...selections].sort());
});

/** A safetensors file of a number for each name. */
function file(names) {
  const entries = names.map((name, i) => [name, { dtype: "F32", shape: [1], data_offsets: [4 * i, 4 * i + 4] }]);
  const header = new TextEncoder().encode(JSON.stringify(Object.fromEntries(entries)));
  const size = new Uint8Array(new BigUint64Array([BigInt(header.length)]).buffer);
  return new Blob([size, header, new Float32Array(names.length)]);
}
