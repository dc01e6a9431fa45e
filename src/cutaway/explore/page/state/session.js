// What the page knows of the model and of the text: the trace of the state, its tensors, and other answers.
// A value that is not there yet is undefined; who reads it is drawn again when it comes.

import { batch, computed, effect, signal } from "../vendor/signals-core.js";
import { changeToText, fromAddress } from "../lib/address.js";
import { t } from "./i18n.js";
import { go, state } from "./navigation.js";

const KEPT = 400; // answers, and as many more as the page shows at once
export const PAGE = crypto.getRandomValues(new Uint32Array(4)).join("-"); // another page at the same server reads its own texts

let current; // the transport
export const model = signal(null); // api/model
export const trace = signal(null); // the answer to the last trace that was read
export const progress = signal(null); // {done, layers} while one is read
export const failure = signal(null); // what went wrong last, in a line

export const live = () => current.live;
export const transport = () => current;

const answers = new Map(); // key -> signal
let shown = new Set();
let shownBefore = shown; // keys of the answers that the page was drawn from, now and the last time
const failed = new Map(); // keys of answers that did not come -> the state of then: in another they are asked for again

/** The page is drawn anew: from now on answers that it shows no longer may go. */
export function beginDrawing() {
  shownBefore = shown;
  shown = new Set();
}

/** The answer of `load` under a name, read once. */
export function answer(key, load) {
  shown.add(key);
  if (failed.has(key) && failed.get(key) !== state.peek()) answers.delete(key);
  if (!answers.has(key)) {
    failed.delete(key);
    makeRoom();
    const value = signal(undefined);
    answers.set(key, value);
    load().then((found) => { value.value = found; }, (error) => {
      if (answers.get(key) !== value) return;
      failed.set(key, state.peek());
      report(error);
    });
  }
  return answers.get(key).value;
}

function makeRoom() {
  for (const key of answers.keys()) {
    if (answers.size < KEPT) return;
    if (!shown.has(key) && !shownBefore.has(key)) answers.delete(key);
  }
}

export function report(error) {
  if (error.name !== "AbortError") failure.value = error.status === 0 ? t("unreachable") : error.message;
}

/** JSON that does not depend on the text, such as "figures". */
export const ask = (path) => answer(path, () => current.json(path));

/** JSON about the text that was read, such as "heads?layer=3". */
export function askTrace(path) {
  const id = trace.value?.trace;
  return id && answer(`${id}/${path}`, () => current.json(`traces/${id}/${path}`));
}

let wanted = null; // selections that are asked for together at the end of this turn

/** A tensor of the text by its selection, "attn.5[1,:,:]": {shape, data}. */
export function tensor(selection) {
  const id = trace.value?.trace;
  return id && answer(`${id}|${selection}`, () => together(id, selection));
}

function together(id, selection) {
  wanted ??= { id, selections: new Set(), promise: Promise.resolve().then(send) };
  if (wanted.id !== id) return current.tensors(id, [selection]).then((found) => found[selection]);
  wanted.selections.add(selection);
  return wanted.promise.then((found) => found[selection]);
}

function send() {
  const { id, selections } = wanted;
  wanted = null;
  return current.tensors(id, [...selections]);
}

export const post = (path, body) => current.post(path, body);
export const generate = (request, signal) => current.generate(request, signal);

let reading = null;
let sequence = 0;

/** Read a text (or {ids}) and make it what the page is about. */
export async function read(request) {
  reading?.abort();
  reading = new AbortController();
  const mine = reading;
  const base = trace.peek()?.trace;
  progress.value = { done: 0, layers: model.peek().config.n_layer };
  try {
    const ask = { ...request, interventions: state.peek().changes, base, view: PAGE, sequence: ++sequence };
    const found = await current.trace(ask, (done, layers) => { progress.value = { done, layers }; }, mine.signal);
    batch(() => { trace.value = found; failure.value = null; });
    if (String(state.peek().ids) !== String(found.ids)) go({ ids: found.ids, text: null }, { replace: !state.peek().ids });
  } catch (error) {
    report(error);
  } finally {
    if (mine === reading) progress.value = null;
  }
}

/** Stop reading; what was there stays. */
export function cancel() {
  reading?.abort();
}

export const ids = computed(() => trace.value?.ids ?? []);
export const tokens = computed(() => trace.value?.tokens ?? []);
export const labels = computed(() => tokens.value.map((token) => token.text));

/** The text of such tokens, without the one that it starts from. */
export function textOf(tokens) {
  const after = tokens.filter((token, i) => i > 0 || token.id !== model.value.end_of_text);
  return new TextDecoder("utf-8", { ignoreBOM: true }).decode(Uint8Array.from(after.flatMap((token) => token.bytes)));
}

/** The text that was read. */
export const text = computed(() => textOf(tokens.value));

/** Where a file looks, which holds nothing of another layer or position but the pictures of all heads; null of a server. */
const fixed = () => (live() || state.value.view === "heads" ? null : ownPlace());
const ownPlace = () => fromAddress(current.address);

/** Whether there is more to see of that head than its picture: everything where a server is. */
export const isWhole = (layer, head) => live() || (layer === ownPlace().layer && head === ownPlace().head);

/** The layer, head and position of the state, within what the model and the text have. */
export const chosen = computed(() => {
  const { layer, head, position } = fixed() ?? state.value;
  const { n_layer, n_head } = model.value.config;
  const n = ids.value.length;
  const within = (value, count) => Math.max(0, Math.min(value, count - 1));
  return { layer: within(layer, n_layer), head: within(head, n_head), position: within(position < 0 ? n - 1 : position, n) };
});

/** Begin: ask what the model is, and read whatever the state names from now on. */
export async function start(from) {
  current = from;
  model.value = await current.json("model");
  let last = null;
  effect(() => {
    const { ids, text, changes } = state.value;
    const key = `${ids ?? text}|${changes.map(changeToText).join(" ")}`;
    if (key === last) return;
    last = key;
    if (trace.peek() && key === traceKey(trace.peek())) return settle(); // it is there already
    if (ids) read({ ids });
    else read(model.peek().has_tokenizer ? { text: text ?? model.peek().example, prepend_bos: true } : { ids: [0] });
  });
}

/** What is asked for is there: a reading that was under way is of something else, and so is what went wrong. */
function settle() {
  reading?.abort();
  failure.value = null;
}

const traceKey = (found) => `${found.ids}|${found.interventions.map(changeToText).join(" ")}`;
