// Self-attention of one head in the article's steps, for the selected token and for all tokens.

import { html, nothing } from "../vendor/lit-html.js";
import { computedCells, farthest, firstOf, rowOf } from "../lib/cells.js";
import { apart, percent } from "../lib/format.js";
import { divisorOf } from "../lib/mathematics.js";
import { links } from "../lib/patterns.js";
import { t } from "../state/i18n.js";
import { go, goMore, ownNumber, state } from "../state/navigation.js";
import { chosen, ids, labels, live, model, pointed, singledLink, summary, trace } from "../state/session.js";
import { headCells, headRow, rowCells, vectorCells } from "../state/slices.js";
import { grid, signedGrid, strips } from "../ui/cell-grid.js";
import { choices } from "../ui/controls.js";
import { headMap } from "../ui/head-map.js";
import { numeral } from "../ui/numeral.js";
import { arcs, table } from "../ui/panels.js";
import { player } from "../ui/player.js";
import { waiting } from "../ui/widgets.js";
import { picture } from "./attention-picture.js";

export const attention = { id: "attention", group: "inside", isPlaced: true, draw, attempt, weightOn };

const STEPS = ["vectors", "scores", "scaled", "masked", "softmax", "sum", "merge"];
const MATRIX = { scores: "scores_raw", scaled: "scores", masked: "masked", softmax: "attn" };
const MOST_ROWS = 64; // of the table of the weighted sum

/** The head that the model singles out. */
function attempt() {
  const link = singledLink();
  return link && { words: link.words, change: { layer: link.layer, head: link.head, position: -1, more: { ...state.value.more, key: link.key, step: "softmax" } } };
}

/** What the token that is pointed at above, or else the selected one, gives to another. */
function weightOn(key) {
  const { layer, head, position } = chosen.value;
  return headRow("attn", layer, head, pointed.value.query ?? position)?.values[key];
}

function draw() {
  const chosenStep = STEPS.includes(state.value.more.step) ? state.value.more.step : undefined;
  const step = chosenStep ?? "softmax";
  return html`<div class="chooser"><div>${telling()}${choices(["layer", "head", "position"])}</div><div>${headMap()}</div></div>
    ${picture(chosenStep, pointed.value.key ?? ownNumber("key", ids.value.length, undefined))}
    <div class="stepper"><ol class="stages">${STEPS.map((name, i) => html`<li><button type="button" aria-current=${name === chosenStep ? "step" : nothing}
      @click=${() => goMore({ step: name === chosenStep ? null : name })}>${i + 1}. ${t(`attention.${name}`)}</button></li>`)}</ol>
    ${player({ name: "attention", count: STEPS.length, at: STEPS.indexOf(chosenStep), pause: 2500, title: t(`attention.${chosenStep ?? "picture"}`), show: (at) => goMore({ step: STEPS[at] }) })}</div>
    <p class="note explains">${t(chosenStep ? noteOf(step) : "attention.begin.note", divisorOf(model.value.config, chosen.value.layer))}</p>
    ${DRAW[step]?.() ?? matrix(step)}
    ${live() ? html`<p class="note">${t("attention.caveat")}</p>` : nothing}`;
}

const MOST_LINKS = 4; // that are offered

/** Links from the selected token that are worth seeing, by the heads that make them. */
export function telling() {
  const { layer, head, position } = chosen.value;
  const layers = live() ? summary(position) : undefined;
  if (!layers || position === 0) return nothing;
  const all = links(layers);
  const heaviest = heaviestTo(all, (key) => key > 0 && key < position - 1);
  const previous = all.find(({ key }) => key === position - 1);
  const first = all.find(({ key }) => key === 0);
  return html`<p class="links"><span>${t("attention.links")}</span>${[...heaviest, previous, ...(position > 1 ? [first] : [])].map((link) => html`
    <button type="button" class="quiet" aria-pressed=${link.layer === layer && link.head === head && state.value.more.key === String(link.key)}
      @click=${() => { go({ layer: link.layer, head: link.head }, { replace: true }); goMore({ key: link.key }); }}>
      <span class="token">${labels.value[position]} → ${labels.value[link.key]}</span>
      <small>${link === previous ? t("attention.link.previous") + t("sep.colon") : link === first ? t("attention.link.first") + t("sep.colon") : ""}${t("attention.link", link)} ${numeral(percent(link.weight, 0), `attn.${link.layer}`, [link.head, position, link.key])}</small></button>`)}</p>`;
}

/** The heaviest links, one for each key that is wanted. */
function heaviestTo(all, isWanted) {
  const found = new Map();
  for (const link of all) {
    if (found.size === MOST_LINKS) break;
    if (isWanted(link.key) && !found.has(link.key)) found.set(link.key, link);
  }
  return [...found.values()];
}

function head(kind) {
  const { layer, head } = chosen.value;
  return headCells(kind, layer, head);
}

/** A step whose result is a matrix (T, T). */
function matrix(step) {
  const cells = head(MATRIX[step]);
  const names = labels.value;
  const { position } = chosen.value;
  if (!cells) return waiting();
  const scale = step === "softmax" ? "share" : "signed";
  const row = rowOf(cells, position);
  return html`
    ${step === "softmax" ? looks(row, names, position) : nothing}
    ${grid({ title: t("attention.matrix"), cells, scale, rowLabels: names, columnLabels: names, rowAxis: t("query"), columnAxis: t("key"),
      cursor: [position, keyPosition()], pick: (query, key) => { go({ position: query }, { replace: true }); goMore({ key }); } })}
    ${step === "scores" ? terms() : nothing}`;
}

function looks(row, names, position) {
  const count = reach(row.values, position);
  return arcs({ title: t("attention.looks", { token: names[position] }), tokens: names.slice(0, count), cells: firstOf(row, count),
    query: position, key: keyPosition(), pick: (key) => goMore({ key }) });
}

/** The text about a step; for scaling it depends on the model. */
function noteOf(step) {
  if (step === "softmax" && trace.value.interventions.some((change) => change.kind === "no_mask")) return "attention.softmax.note.nomask";
  const { kind } = divisorOf(model.value.config, 0);
  return step === "scaled" && kind !== "root" ? `attention.scaled.note.${kind}` : `attention.${step}.note`;
}

/** Number of tokens that `position` attends to: up to itself, or further if an intervention changed the mask. */
const reach = (weights, position) => Math.max(position, weights.findLastIndex((weight) => weight > 0)) + 1;

/** The key that is pointed at or selected; the query's own position by default. */
const keyPosition = () => pointed.value.key ?? ownNumber("key", ids.value.length, chosen.value.position);

/** The terms of a query-key dot product. */
function terms() {
  const q = head("q");
  const k = head("k");
  const scores = head("scores_raw");
  const { layer, head: number, position } = chosen.value;
  const hasRelative = model.value.config.relative_positions > 0;
  const relative = hasRelative && head("scores_rel"); // added to the products' sum
  if (!q || !k || !scores || (hasRelative && !relative)) return waiting();
  const key = keyPosition();
  const query = rowOf(q, position);
  const against = rowOf(k, key);
  const names = labels.value;
  const formula = `q.${layer}[${number},${position},:] * k.${layer}[${number},${key},:]`;
  const products = computedCells(formula, query.values.map((value, i) => value * against.values[i]));
  const sum = products.values.reduce((a, b) => a + b, 0);
  const score = (kind, cells) => numeral(cells.values[position * cells.columns + key].toFixed(4), `${kind}.${layer}`, [number, position, key]);
  return html`<h2>${t("attention.terms", { query: names[position], key: names[key] })}</h2>
    ${signedGrid(t("whatif.query"), query)}${signedGrid(t("whatif.key"), against)}${signedGrid(t("attention.products"), products)}
    <p>${t("attention.sums")}${numeral(sum.toFixed(4), `sum(${formula})`, [])}${t("sep.and")}${relative ? html`<code>scores_rel.${layer}</code>${t("sep.colon")}${score("scores_rel", relative)}${t("attention.relative")}${t("sep.and")}` : nothing}<code>scores_raw.${layer}</code>${t("sep.colon")}${score("scores_raw", scores)}</p>`;
}

function vectors() {
  const { position } = chosen.value;
  const names = labels.value;
  const found = ["q", "k", "v"].map((kind) => [t(`attention.${kind}`), head(kind)]);
  return html`<div class="two"><div>${found.map(([title, cells]) => signedGrid(`${title}: ${names[position]}`, cells && rowOf(cells, position)))}</div>
    <div>${found.map(([title, cells]) => signedGrid(title, cells, { rowLabels: names, rowAxis: t("whatif.position") }))}</div></div>`;
}

const FIRST = 4; // components of each vector in the table

/** The article's table: word, weight, value, weight × value, and their sum. */
function sum() {
  const attn = head("attn");
  const v = head("v");
  const z = head("z");
  const { layer, head: number, position } = chosen.value;
  if (!attn || !v || !z) return waiting();
  const weights = rowOf(attn, position).values;
  const out = rowOf(z, position);
  const all = reach(weights, position);
  const rows = heaviest(weights, all).map((key) => addend(key, weights, v));
  const off = farthest(weighted(weights, v), out.values);
  const columns = [t("attention.word"), t("attention.weight"), ...firstNames("v"), ...firstNames("w·v")];
  return html`${table(t("attention.sum.table", { n: rows.length, all }), columns, rows)}
    ${signedGrid(t("attention.z"), out)}
    <p>${t("recomputed")}<code>max |Σ w·v − z|</code> = ${numeral(apart(off), `sum(attn.${layer} * v.${layer}) - z.${layer}`, [number, position])}</p>`;
}

const firstNames = (name) => Array.from({ length: FIRST }, (_, i) => `${name}[${i}]`);

/** The keys of largest weight among the first `count`, in the order of the text. */
function heaviest(weights, count) {
  const keys = Array.from({ length: count }, (_, key) => key);
  return keys.sort((a, b) => weights[b] - weights[a]).slice(0, MOST_ROWS).sort((a, b) => a - b);
}

/** One row of the table. */
function addend(key, weights, v) {
  const { layer, head: number, position } = chosen.value;
  const values = [...rowOf(v, key).values.subarray(0, FIRST)];
  const entry = (value, tensor, index, form = ".3f") => ({ value, tensor, index, form });
  return [labels.value[key], entry(weights[key], `attn.${layer}`, [number, position, key], ".2%"),
    ...values.map((value, i) => entry(value, `v.${layer}`, [number, key, i])),
    ...values.map((value, i) => entry(weights[key] * value, `attn.${layer} * v.${layer}`, [number, position, key, i]))];
}

/** The weighted sum of the values. */
function weighted(weights, v) {
  const total = new Float32Array(v.columns);
  weights.forEach((weight, key) => rowOf(v, key).values.forEach((value, i) => { total[i] += weight * value; }));
  return total;
}

function merge() {
  const { layer, position } = chosen.value;
  const bias = vectorCells(`h.${layer}.attn.c_proj.bias`);
  const parts = { attn_out: "attention.out", "resid.pre": "attention.before", "resid.mid": "stack.mid" };
  const added = Object.entries(parts).map(([kind, words]) => ({ title: t(words), cells: rowCells(`${kind}.${layer}`, position) }));
  return html`${signedGrid(t("attention.zcat"), rowCells(`zcat.${layer}`, position))}${signedGrid(t("attention.bias"), bias)}${strips(added)}`;
}

const DRAW = { vectors, sum, merge };
