// The state of the page as the fragment of its address, so that a link restores it.
//
//   #1/attention?ids=50256,32,9379&layer=5&head=1&position=2&do=zero_ablate_head:layer=3,head=1
//
// The first number is the version of the format. Token ids are the state, and text is only a view of them: a link written
// by hand may have `text=…` instead, which is replaced by the ids once it is tokenized.

import { FIELDS } from "./interventions.js";

const VERSION = "1";

/**
 * The initial state. `text` is used if there are no ids; `position` -1 is the last token; layer and head `null` are those that the
 * model singles out; `changes` are interventions; `more` belongs to the view; `model` is the name that a link has. */
export const START = Object.freeze({
  view: "overview", ids: null, text: null, layer: null, head: null, position: -1, language: null, model: null, changes: [], more: {},
});

const WHOLE = ["layer", "head", "position"];

/** State -> "#1/…", without default values. */
export function toAddress(state) {
  const query = new URLSearchParams();
  if (state.ids) query.set("ids", state.ids.join(","));
  else if (state.text !== null) query.set("text", state.text);
  for (const name of WHOLE) if (state[name] !== START[name]) query.set(name, state[name]);
  for (const name of ["language", "model"]) if (state[name]) query.set(name, state[name]);
  for (const change of state.changes) query.append("do", changeToText(change));
  for (const [name, value] of Object.entries(state.more)) query.set(`x-${name}`, value);
  const text = query.toString().replaceAll("%2C", ",").replaceAll("%3A", ":").replaceAll("%3D", "=");
  return `#${VERSION}/${state.view}${text ? `?${text}` : ""}`;
}

/** "#1/…" -> state; invalid values become defaults. */
export function fromAddress(address) {
  const match = /^#(\d+)\/([a-z]+)(?:\?(.*))?$/.exec(address);
  if (!match || match[1] !== VERSION) return { ...START };
  const query = new URLSearchParams(match[3] ?? "");
  const state = { ...START, view: match[2], language: query.get("language"), model: query.get("model"), more: {} };
  const ids = query.get("ids");
  if (ids !== null && /^\d+(,\d+)*$/.test(ids)) state.ids = ids.split(",").map(Number);
  else state.text = query.get("text");
  for (const name of WHOLE) if (/^-?\d+$/.test(query.get(name) ?? "")) state[name] = Number(query.get(name));
  state.changes = query.getAll("do").map(textToChange).filter(Boolean);
  for (const [name, value] of query) if (name.startsWith("x-")) state.more[name.slice(2)] = value;
  return state;
}

/** {kind: "zero_ablate_head", layer: 3, head: 1} -> "zero_ablate_head:layer=3,head=1"; a list of token ids is written 50256.32.9379 */
export function changeToText(change) {
  const fields = FIELDS.filter((name) => change[name] != null).map((name) => `${name}=${[change[name]].flat().join(".")}`);
  return fields.length ? `${change.kind}:${fields.join(",")}` : change.kind;
}

const toNumber = (text) => (text?.trim() && Number.isFinite(Number(text)) ? Number(text) : null);
const toIds = (text) => (/^\d+(\.\d+)*$/.test(text) ? text.split(".").map(Number) : null);

/** The inverse; null if the text is invalid. */
export function textToChange(text) {
  const match = /^([a-z_]+)(?::(.*))?$/.exec(text);
  if (!match) return null;
  const change = { kind: match[1] };
  for (const part of match[2] ? match[2].split(",") : []) {
    const [name, value] = part.split("=");
    if (!FIELDS.includes(name)) return null;
    change[name] = name === "source" ? toIds(value) : toNumber(value);
    if (change[name] === null) return null;
  }
  return change;
}
