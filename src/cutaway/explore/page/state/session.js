// The model, the current trace, and a cache of responses.
// A response that has not arrived is undefined; what reads it is rendered again when it does.

import { batch, computed, effect, signal } from "../vendor/signals-core.js";
import { changeToText, fromAddress } from "../lib/address.js";
import { names } from "../lib/graphemes.js";
import { telling } from "../lib/patterns.js";
import { go, state } from "./navigation.js";

const SLOW = 1500; // milliseconds
const KEPT = 400; // responses, beyond those that the page shows
export const PAGE = crypto.getRandomValues(new Uint32Array(4)).join("-"); // so that pages of one server do not cancel each other's requests

let current; // the transport
export const model = signal(null); // api/model
export const trace = signal(null); // the current trace
export const progress = signal(null); // {done, layers} of a pending trace
export const failure = signal(null); // the last error message; "unreachable" if the server does not answer
export const isPrevious = signal(false); // whether the text that was asked for could not be read, and the one before is shown

export const isSlow = signal(false); // whether a response has been on its way for long

export const live = () => current.live;
export const transport = () => current;

const answers = new Map(); // key -> signal
let lacking = 0; // responses that the current render had to do without
let shown = new Set(); // keys of the responses that the current render used
let shownBefore = shown; // and the one before
const pending = new Map(); // key -> AbortController of a request that is on its way
const failed = new Map(); // keys of failed requests -> the state then: in another state they are retried

/** Start a render: responses that it does not use may be evicted afterwards. */
export function beginDrawing() {
  shownBefore = shown;
  shown = new Set();
}

/** End a render: what it did not ask for and has not arrived is dropped, so that nothing waits behind it. */
export function endDrawing() {
  for (const [key, request] of pending) {
    if (shown.has(key)) continue;
    pending.delete(key);
    answers.delete(key);
    request.abort();
  }
  if (!pending.size) isSlow.value = false;
}

/** Give up what is on its way. */
export function stopWaiting() {
  for (const request of pending.values()) request.abort();
  setTimeout(() => { failure.value = STOPPED; }); // once all have failed
}

/** Note that the current render lacks something that is on its way. */
export const lack = () => { lacking += 1; };

/** What `draw` returns, and whether it had everything: {drawn, isWhole}. Renders may be nested. */
export function watched(draw) {
  const before = lacking;
  lacking = 0;
  try {
    const drawn = draw();
    return { drawn, isWhole: lacking === 0 };
  } finally {
    lacking = before;
  }
}

/** The response of `load(signal)`, cached under a key; `signal` is aborted when no render asks for it any more. */
export function answer(key, load) {
  shown.add(key);
  if (failed.has(key) && failed.get(key) !== state.peek()) answers.delete(key);
  if (!answers.has(key)) {
    failed.delete(key);
    makeRoom();
    const value = signal(undefined);
    const request = new AbortController();
    answers.set(key, value);
    pending.set(key, request);
    setTimeout(() => { if (pending.get(key) === request) isSlow.value = true; }, SLOW);
    const arrived = () => {
      if (pending.get(key) === request) pending.delete(key);
      if (!pending.size) isSlow.value = false;
    };
    load(request.signal).finally(arrived).then((found) => deliver(value, found), (error) => {
      if (answers.get(key) !== value) return;
      failed.set(key, state.peek());
      report(error);
    });
  }
  const found = answers.get(key).value;
  if (found === undefined && !failed.has(key)) lack();
  return found;
}

const delivered = []; // responses that have arrived in this turn: [signal, response]

/** Give all responses of one turn to the page at once, which draws once and not for each slice of a file. */
function deliver(value, found) {
  if (!delivered.length) queueMicrotask(() => batch(() => { for (const [each, response] of delivered.splice(0)) each.value = response; }));
  delivered.push([value, found]);
}

function makeRoom() {
  for (const key of answers.keys()) {
    if (answers.size < KEPT) return;
    if (!shown.has(key) && !shownBefore.has(key)) answers.delete(key);
  }
}

export const UNREACHABLE = "unreachable";
export const STOPPED = "stopped";

export function report(error) {
  if (error.name !== "AbortError") failure.value = error.status === 0 ? UNREACHABLE : error.message;
}

/** JSON about the model, such as "figures". */
export const ask = (path) => answer(path, (signal) => current.json(path, signal));

/** JSON about the current trace, such as "heads?layer=3". */
export function askTrace(path) {
  const id = trace.value?.trace;
  return id && answer(`${id}/${path}`, (signal) => current.json(`traces/${id}/${path}`, signal));
}

let wanted = null; // slices to request together at the end of this turn

/** A slice of the current trace, "attn.5[1,:,:]": {shape, data, origin}. */
export function tensor(selection) {
  const id = trace.value?.trace;
  return id && answer(`${id}|${selection}`, (signal) => together(id, selection, signal));
}

function together(id, selection, signal) {
  wanted ??= { id, selections: new Set(), signals: [], promise: Promise.resolve().then(send) };
  if (wanted.id !== id) return current.tensors(id, [selection], signal).then((found) => found[selection]);
  wanted.selections.add(selection);
  wanted.signals.push(signal);
  return wanted.promise.then((found) => found[selection]);
}

/** Request the slices; given up when none of them is wanted any more. */
function send() {
  const { id, selections, signals } = wanted;
  const request = new AbortController();
  wanted = null;
  for (const signal of signals) signal.addEventListener("abort", () => { if (signals.every((each) => each.aborted)) request.abort(); });
  return current.tensors(id, [...selections], request.signal);
}

export const post = (path, body) => current.post(path, body);
export const generate = (request, signal) => current.generate(request, signal);

let reading = null;
let sequence = 0;

/** Trace a text (or {ids}), make it the current trace and return it; nothing if it could not be read. */
export async function read(request) {
  reading?.abort();
  reading = new AbortController();
  const mine = reading;
  const base = trace.peek()?.trace;
  progress.value = { done: 0, layers: model.peek().config.n_layer };
  try {
    const ask = { ...request, interventions: state.peek().changes, base, view: PAGE, sequence: ++sequence };
    const found = await current.trace(ask, (done, layers) => { progress.value = { done, layers }; }, mine.signal);
    batch(() => { trace.value = found; failure.value = null; isPrevious.value = false; });
    if (String(state.peek().ids) !== String(found.ids)) go({ ids: found.ids, text: null, ...misdirected() }, { replace: !state.peek().ids });
    return found;
  } catch (error) {
    isPrevious.value = error.name !== "AbortError" && trace.peek() !== null;
    report(error);
  } finally {
    if (mine === reading) progress.value = null;
  }
}

/** A link's text, which a model without a tokenizer cannot read, was meant for another model. */
const misdirected = () => (state.peek().text !== null && !model.peek().has_tokenizer ? { model: "text" } : {});

/** Cancel the pending trace; the current one stays. */
export function cancel() {
  reading?.abort();
}

export const ids = computed(() => trace.value?.ids ?? []);
export const tokens = computed(() => trace.value?.tokens ?? []);
/** Whether no token fits any more. */
export const isFull = () => ids.value.length >= model.value.config.n_ctx;
export const labels = computed(() => names(tokens.value));

/** Decode tokens, without the start token. */
export function textOf(tokens) {
  const after = tokens.filter((token, i) => i > 0 || token.id !== model.value.end_of_text);
  return new TextDecoder("utf-8", { ignoreBOM: true }).decode(Uint8Array.from(after.flatMap((token) => token.bytes)));
}

/** The text of the current trace. */
export const text = computed(() => textOf(tokens.value));

/** The layer, head and position of an exported file. */
const ownPlace = () => fromAddress(current.address);

/** Whether only those are here: in an exported file, in most views. */
const isOwn = () => !live() && !current.free.includes(state.value.view);

/** Whether another token can be selected. */
export const isFree = () => !isOwn();

/** Whether the details of a head are available: of every head if live. */
export const isWhole = (layer, head) => live() || (layer === ownPlace().layer && head === ownPlace().head);

/** Whether every head of the view is here: in a file where it shows all positions of a short text. */
export const hasHeads = () => live() || (isFree() && ["overview", "heads"].every((id) => current.views.includes(id)));

/** Whether the vectors of that layer and position are available: of all if live. */
export const hasVectors = (layer, position) => live() || (layer === ownPlace().layer && position === ownPlace().position);

const within = (value, count) => Math.max(0, Math.min(value, count - 1));

/** The selected position, clamped to the text; an exported file has one, except in the views of all tokens. */
export const position = computed(() => {
  const wanted = isOwn() ? ownPlace().position : state.value.position;
  const n = ids.value.length;
  return within(wanted < 0 ? n - 1 : wanted, n);
});

/** What is pointed at: {query}, in the line of tokens, or {key}, in a picture. */
export const pointed = signal({});

/** What each layer does with a token, {weights, heads, most, mlp}; undefined until it arrives. */
export const summary = (position) => askTrace(`summary?position=${position}`)?.layers;

/** Of each boundary of a token's way {name, top}: the next tokens that its vector is read as. Undefined until it arrives. */
export const lens = (position) => askTrace(`logit_lens?position=${position}&k=${lensTokens()}`)?.positions[0].boundaries;

/** How many tokens a vector is read as. */
export const lensTokens = () => Math.min(5, model.value.config.n_vocab);

/** The link that the model itself singles out for the last token: {layer, head, key, weight}. Undefined until it arrives. */
function singledOut() {
  const query = ids.value.length - 1;
  const layers = summary(query);
  if (layers) return telling(layers, query) ?? NONE;
  return failed.has(`${trace.value?.trace}/summary?position=${query}`) ? NONE : undefined;
}

/** The same in words, or another link: {layer, head, query, key, words: {query, key}}; null if there is none, or not yet. */
export function singledLink(found = singledOut()) {
  if (!found?.weight) return null;
  const query = ids.value.length - 1;
  return { ...found, query, words: { query: labels.value[query], key: labels.value[found.key] } };
}

const NONE = Object.freeze({ layer: 0, head: 0, key: 0, weight: 0 });

/** Whether layer and head are known: those of the address, or the ones that the model singles out. */
export const isPlaced = () => !live() || (state.value.layer !== null && state.value.head !== null) || singledOut() !== undefined;

/** The selected layer, head and position, clamped to the model and the text. Not a signal of its own, whose value would hide what it asks for. */
export const chosen = { get value() { return choose(); } };

function choose() {
  const { n_layer, n_head } = model.value.config;
  const wanted = isOwn() || (["music", "translation"].includes(state.value.view) && !hasHeads()) ? ownPlace() : state.value;
  const isAuto = wanted.layer === null || wanted.head === null;
  const usual = isAuto ? (live() ? singledOut() : ownPlace()) ?? NONE : NONE;
  return { layer: within(wanted.layer ?? usual.layer, n_layer), head: within(wanted.head ?? usual.head, n_head), position: position.value };
}

/** Load the model's description, and trace the state's text from now on. */
export async function start(from) {
  current = from;
  model.value = await current.json("model");
  let last = null;
  effect(() => {
    const { ids, text, changes } = state.value;
    if (failure.peek() === STOPPED) failure.value = null;
    const key = `${ids ?? text}|${changes.map(changeToText).join(" ")}`;
    if (key === last) return;
    last = key;
    if (trace.peek() && key === traceKey(trace.peek())) return settle(); // already current
    read(ids ? { ids } : beginning(text));
  });
}

/** What to read where the address has no ids: its text, else the example of the model. */
function beginning(text) {
  const { has_tokenizer, example, example_ids } = model.peek();
  if (has_tokenizer && (text !== null || !example_ids)) return { text: text ?? example, prepend_bos: true };
  return { ids: example_ids ?? [0] };
}

/** The requested trace is current: cancel a pending one and clear its error. */
function settle() {
  reading?.abort();
  failure.value = null;
  isPrevious.value = false;
}

const traceKey = (found) => `${found.ids}|${found.interventions.map(changeToText).join(" ")}`;
