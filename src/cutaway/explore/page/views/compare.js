// Comparison of two traces: two texts, one text with and without interventions, or of two models; side by side or as a
// difference.

import { html, nothing } from "../vendor/lit-html.js";
import { changeToText } from "../lib/address.js";
import { cellsOfSlice, indexOf, largestAt, select, valueAt } from "../lib/cells.js";
import { share } from "../lib/format.js";
import { names } from "../lib/graphemes.js";
import { likeliest, onlyIn } from "../state/candidates.js";
import { areInForce, describe } from "../state/changes.js";
import { t } from "../state/i18n.js";
import { go, goMore, isOn, state } from "../state/navigation.js";
import { askOf, other, readOther, tensorOf } from "../state/second-trace.js";
import { chosen, ids, labels, live, model, report, text, textOf, trace } from "../state/session.js";
import { boundary } from "../ui/boundary.js";
import { likelyList } from "../ui/candidates.js";
import { grid } from "../ui/cell-grid.js";
import { checkbox, choices, textBox } from "../ui/controls.js";
import { numeral } from "../ui/numeral.js";
import { scrolling, waiting } from "../ui/widgets.js";

export const compare = { id: "compare", group: "try", isPlaced: true, draw, attempt };

const MOST_TOKENS = 96; // of each text that are listed
const THRESHOLD = 0.1; // nats
const MATRICES = ["attn", "scores"];
const OF_HEADS = ["q", "k", "v", "z"];
const OF_TOKENS = ["resid.pre", "ln1", "attn_out", "resid.mid", "ln2", "mlp_act", "mlp_out", "resid.post"];
const KINDS = [...MATRICES, ...OF_HEADS, ...OF_TOKENS];

/** Pairs of texts that differ in one word. */
const PAIRS = [
  ["The animal did not cross the street because it was too tired", "The animal did not cross the street because it was too wide"],
  ["A robot must obey the orders given it", "A king must obey the orders given it"],
];

function attempt() {
  const [[a, b]] = PAIRS;
  return model.value.has_tokenizer ? { change: { text: a, ids: null, position: -1, more: { with: "text", text: b } } } : null;
}

function draw() {
  if (!live()) return html`<p>${t("compare.live")}</p>`;
  const found = second();
  const isThere = found && areInForce();
  return html`${against()}${isThere ? html`${texts(found)}${parting(found)}${next(found)}${layers(found)}${tensors(found)}` : found === undefined ? waiting() : nothing}`;
}

const mode = () => state.value.more.with ?? (state.value.changes.length ? "changes" : "text");

/** The second trace; undefined until it arrives, null if none was requested. */
function second() {
  if (mode() === "changes") return state.value.changes.length ? other({ ids: ids.value, interventions: [] }) : null;
  if (mode() === "model") return model.value.against ? other({ ids: ids.value, interventions: state.value.changes, against: true }) : null;
  const rest = { interventions: state.value.changes, fitting: true };
  const { ids: wanted, text } = state.value.more;
  if (/^\d+(,\d+)*$/.test(wanted ?? "")) return other({ ids: wanted.split(",").map(Number), ...rest });
  if (text && model.value.has_tokenizer) return other({ text, prepend_bos: true, ...rest });
  return ids.value.length > 1 ? other({ ids: ids.value.slice(0, -1), ...rest }) : null; // without the last token
}

/** Choice of the second trace. */
function against() {
  const modes = ["text", "changes", ...(model.value.against ? ["model"] : [])];
  return html`<p class="buttons">${modes.map((name) => html`<button type="button" aria-pressed=${mode() === name} @click=${() => goMore({ with: name })}>
    ${t(`compare.with.${name}`, model.value.against ?? {})}</button>`)}</p>${WITH[mode()]?.() ?? nothing}`;
}

const pairs = () => html`<p class="links"><span>${t("compare.pairs")}</span>
  ${PAIRS.map(([a, b]) => html`<button type="button" class="quiet" @click=${() => go({ text: a, ids: null, position: -1, more: { with: "text", text: b } })}>${ending(a, b)}</button>`)}
  <button type="button" class="quiet" @click=${() => goMore({ with: "text", ids: null, text: null })}>${t("compare.without")}</button></p>`;

/** "… tired / … wide": the words in which two texts differ. */
function ending(a, b) {
  const one = a.split(" ");
  const two = b.split(" ");
  const at = one.findIndex((word, i) => word !== two[i]);
  return `“${one[at]}” / “${two[at]}”`;
}

const WITH = {
  text: form,
  changes: () => (state.value.changes.length ? nothing : html`<p>${t("compare.nochanges")}
    <button type="button" class="quiet" @click=${() => go({ view: "whatif" })}>${t("whatif.title")}</button></p>`),
  model: () => (model.value.against ? nothing : html`<p>${t("compare.nomodel")}</p>`),
};

/** Form for the second text, or for its token ids if the model has no tokenizer. */
function form() {
  const readsText = model.value.has_tokenizer;
  const given = second();
  const value = readsText ? (given ? textOf(given.tokens) : text.value) : (state.value.more.ids ?? ids.value.join(","));
  return html`${readsText ? pairs() : nothing}<p class="note">${t("compare.text.note")}</p><form class="wide" @submit=${readSecond}>
    ${textBox(t(readsText ? "compare.text" : "compare.ids"), "text", value)}
    <button>${t("compare.read")}</button></form>`;
}

async function readSecond(event) {
  event.preventDefault();
  const typed = new FormData(event.target).get("text");
  if (!model.value.has_tokenizer) return goMore({ ids: typed.replaceAll(" ", "") });
  try {
    const found = await readOther({ text: typed, prepend_bos: true }, "second");
    goMore({ with: "text", ids: found.ids.join(","), text: null });
  } catch (error) {
    report(error);
  }
}

/** The tokens of both, bold where they differ. */
function texts(found) {
  const { name, against } = model.value;
  const sides = { changes: ["compare.changed", "compare.unchanged"].map((word) => t(word)), model: [`A: ${name}`, `B: ${against?.name}`] };
  const [mine, theirs] = sides[mode()] ?? ["A", "B"];
  const left = mode() === "text" ? state.value.changes.filter((change) => !found.interventions.some((made) => changeToText(made) === changeToText(change))) : [];
  return html`${left.length ? html`<p class="note">${t("compare.left", { changes: left.map(describe).join(t("sep.and")) })}</p>` : nothing}
    <dl class="sides">${side(mine, trace.value.tokens, found.ids)}${side(theirs, found.tokens, ids.value)}</dl>`;
}

/** The tokens around the first that differs, or the last ones. */
function side(name, tokens, others) {
  const parted = tokens.findIndex((token, i) => token.id !== others[i]);
  const from = Math.max(0, (parted < 0 ? tokens.length : parted) - MOST_TOKENS / 2);
  const to = from + MOST_TOKENS;
  const words = names(tokens);
  return html`<div><dt>${name}</dt><dd class="tokens-line">${from ? `… ${from}` : nothing}
  ${tokens.slice(from, to).map((token, i) => html`<span class="token ${token.id === others[from + i] ? "" : "differs"}">${words[from + i]}</span> `)}
  ${tokens.length > to ? `… ${tokens.length - to}` : nothing}</dd></div>`;
}

/** The positions to compare: the same in both texts, or the last of each if the last is selected. */
function places(found) {
  const last = found.ids.length - 1;
  const { position } = chosen.value;
  return [position, state.value.position < 0 ? last : Math.min(position, last)];
}

const ofB = (name) => `B: ${name}`;

/** The most likely next tokens of both. */
function next(found) {
  const [mine, theirs] = places(found);
  const a = tensorOf(trace.value.trace, select("logits", mine, ":"))?.data;
  const b = tensorOf(found.trace, select("logits", theirs, ":"))?.data;
  if (!a || !b) return waiting();
  const topA = likeliest(a);
  const topB = likeliest(b);
  return html`<h2>${t("play.title")}</h2>${choices(["position"])}
    <p class="note">${t("compare.next.note")}</p>
    <div class="two"><section><h3>A · ${t("place", { n: mine + 1, i: mine })}</h3>${likelyList(topA, "probs", mine, onlyIn(topA, topB))}</section>
      <section><h3>B · ${t("place", { n: theirs + 1, i: theirs })}</h3>${likelyList(topB, ofB("probs"), theirs, onlyIn(topB, topA))}</section></div>`;
}

/** KL divergence at each boundary; undefined until it arrives. */
function divergences(found) {
  const [mine, theirs] = places(found);
  return askOf(trace.value.trace, `divergence?${new URLSearchParams({ with: found.trace, position: mine, other_position: theirs })}`)?.boundaries;
}

/** Where the two part, as a sentence. */
function parting(found) {
  const apart = divergences(found);
  const first = apart?.find(({ nats: value }) => value === null || value > threshold());
  if (!apart) return nothing;
  if (!first) return html`<p class="verdict">${t("compare.never")}</p>`;
  const [, kind, layer] = /^resid\.(\w+)\.(\d+)$/.exec(first.name);
  return html`<p class="verdict">${t(`compare.part.${kind}`, { layer })}</p>`;
}

/** The first boundary at which the two diverge: the logit lens of both at each boundary, and the KL divergence. */
function layers(found) {
  const [mine, theirs] = places(found);
  const heading = html`<h2>${t("compare.layers")}</h2><p class="note">${t("compare.layers.note")}</p>`;
  const a = lens(trace.value.trace, mine);
  const b = lens(found.trace, theirs);
  const apart = divergences(found);
  if (!a || !b || !apart) return html`${heading}${waiting()}`;
  const first = apart.findIndex((each) => each.nats === null || each.nats > threshold());
  return html`${heading}
    <p><label class="choice">${t("compare.threshold")} <input type="number" min="0" step="0.05" .value=${String(threshold())}
      @input=${(event) => goMore({ kl: event.target.value })}></label></p>
    <p role="status">${first < 0 ? t("compare.never") : html`${t("compare.first")}<b>${boundary(apart[first].name)}</b>${t("sep.colon")}${nats(apart[first], mine)}`}</p>
    ${scrolling(t("compare.layers"), html`<table class="lens" aria-label=${t("compare.layers")}>
      <thead><tr><th scope="col">${t("output.boundary")}</th><th scope="col">A</th><th scope="col">B</th><th scope="col" class="right">KL(A ‖ B)</th></tr></thead>
      <tbody>${apart.map((each, i) => html`<tr class=${i === first ? "marked" : ""}><th scope="row">${boundary(each.name)}</th>
        ${said(a[i], each.name, mine)}${said(b[i], ofB(each.name), theirs)}<td class="right">${nats(each, mine)}</td></tr>`)}</tbody></table>`)}`;
}

/** The most likely token at each boundary. */
const lens = (id, position) => askOf(id, `logit_lens?${new URLSearchParams({ position, k: 1 })}`)?.positions[0].boundaries.map(({ top }) => top[0]);

function threshold() {
  const nats = Number(state.value.more.kl ?? THRESHOLD);
  return nats >= 0 ? nats : THRESHOLD;
}

const nats = ({ name, nats: value }, position) => numeral(value?.toFixed(4) ?? "∞", `KL(lens(${name}) ‖ lens(${ofB(name)}))`, [position]);
const said = ({ id, text: shown, probability }, boundary, position) =>
  html`<td><span class="token">${shown}</span> ${numeral(share(probability), `lens(${boundary})`, [position, id])}</td>`;

/** One tensor of both traces. */
function tensors(found) {
  const kind = KINDS.includes(state.value.more.tensor) ? state.value.more.tensor : "attn";
  const [mine, theirs] = places(found);
  return html`<h2>${t("compare.tensor")}</h2>
    <div class="choices"><label class="choice">${t("compare.which")} <select @change=${(event) => goMore({ tensor: event.target.value })}>
      ${KINDS.map((each) => html`<option value=${each} ?selected=${each === kind}>${t(`compare.kind.${each}`)}</option>`)}</select></label>
      ${checkbox("difference", t("compare.difference"))}</div>
    ${choices(OF_TOKENS.includes(kind) ? ["layer"] : ["layer", "head"])}
    ${both(kind, part(trace.value, kind, mine, (name) => name), part(found, kind, theirs, ofB), found)}`;
}

function both(kind, a, b, found) {
  if (!a || !b) return waiting();
  if (isOn("difference")) return difference(kind, a, b, found);
  return html`<div class=${MATRICES.includes(kind) ? "two" : ""}>${shown("A", a, kind, trace.value)}${shown("B", b, kind, found)}</div>`;
}

/** A head's pattern, or a token's row, of one trace, with its name made by `named`. */
function part(found, kind, position, named) {
  const { layer, head } = chosen.value;
  const index = MATRICES.includes(kind) ? [head, ":", ":"] : OF_HEADS.includes(kind) ? [head, position, ":"] : [position, ":"];
  const sent = tensorOf(found.trace, select(`${kind}.${layer}`, ...index));
  if (!sent) return undefined;
  const cells = cellsOfSlice(sent);
  return { ...cells, tensor: named(cells.tensor) };
}

function shown(side, cells, kind, found) {
  const words = MATRICES.includes(kind) ? names(found.tokens) : undefined;
  return grid({ title: `${side} · ${cells.tensor.replace("B: ", "")}`, cells, scale: kind === "attn" ? "share" : "signed",
    rowLabels: words, columnLabels: words, rowAxis: t("query"), columnAxis: t("key") });
}

/** A − B; of patterns of different size, the part that both have. */
function difference(kind, a, b, found) {
  const cells = subtracted(a, b);
  const at = largestAt(cells);
  const common = cells.rows;
  const theirs = names(found.tokens);
  const name = (mine, i) => (found.ids[i] === ids.value[i] ? mine : `${mine}|${theirs[i]}`);
  const words = MATRICES.includes(kind) ? labels.value.slice(0, common).map(name) : undefined;
  return html`${grid({ title: `A − B · ${a.tensor}`, cells, scale: "signed", rowLabels: words, columnLabels: words, rowAxis: t("query"), columnAxis: t("key"), cursor: at })}
    <p>max |A − B| = ${numeral(Math.abs(valueAt(cells, ...at)).toPrecision(3), `abs(${cells.tensor})`, indexOf(cells, ...at))}
    ${a.rows === b.rows ? nothing : html`<span class="note">${t("compare.common", { n: common })}</span>`}</p>`;
}

function subtracted(a, b) {
  const rows = Math.min(a.rows, b.rows);
  const columns = Math.min(a.columns, b.columns);
  const values = new Float32Array(rows * columns);
  for (let i = 0; i < rows; i++) for (let j = 0; j < columns; j++) values[i * columns + j] = valueAt(a, i, j) - valueAt(b, i, j);
  return { ...a, tensor: `${a.tensor} - ${b.tensor}`, values, rows, columns };
}
