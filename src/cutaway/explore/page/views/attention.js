// Self-attention of one head, in the article's steps: for the chosen token, and for all tokens at once.

import { html, nothing } from "../vendor/lit-html.js";
import { choices } from "../app/controls.js";
import { t } from "../app/i18n.js";
import { chosen, model, tokens } from "../app/model.js";
import { firstOf, headCells, rowOf, tokenCells, weightVector } from "../app/slices.js";
import { go, goMore, state } from "../app/state.js";
import { grid } from "../draw/cell-grid.js";
import { numeral } from "../draw/numbers.js";
import { arcs, table } from "../draw/panels.js";

export const attention = { id: "attention", draw };

const STEPS = ["vectors", "scores", "scaled", "masked", "softmax", "sum", "merge"];
const MATRIX = { scores: "scores_raw", scaled: "scores", masked: "masked", softmax: "attn" };
const MOST_ROWS = 64; // of the table of the weighted sum

function draw() {
  const step = STEPS.includes(state.value.more.step) ? state.value.more.step : "softmax";
  return html`${choices(["layer", "head", "position"])}
    <ol class="stages">${STEPS.map((name, i) => html`<li><button type="button" aria-current=${name === step ? "step" : nothing}
      @click=${() => goMore({ step: name })}>${i + 1}. ${t(`attention.${name}`)}</button></li>`)}</ol>
    <p class="note">${t(`attention.${step}.note`, { width: model.value.config.n_embd / model.value.config.n_head })}</p>
    ${DRAW[step]?.() ?? matrix(step)}
    <p class="note">${t("attention.caveat")}</p>`;
}

const labels = () => tokens.value.map((token) => token.text);
const waiting = () => html`<p>${t("loading")}</p>`;

function head(kind) {
  const { layer, head } = chosen.value;
  return headCells(kind, layer, head);
}

/** A step whose result is a number for each pair of tokens. */
function matrix(step) {
  const cells = head(MATRIX[step]), names = labels(), { position } = chosen.value;
  if (!cells) return waiting();
  const scale = step === "softmax" ? "share" : "signed", row = rowOf(cells, position);
  return html`
    ${step === "softmax" ? arcs({ title: t("attention.looks", { token: names[position] }), tokens: names.slice(0, position + 1),
      cells: firstOf(row, position + 1), query: position, pick: (key) => goMore({ key }) }) : nothing}
    ${grid({ title: t("attention.vector", { token: names[position] }), cells: row, scale, columnLabels: names, columnAxis: t("key") })}
    ${grid({ title: t("attention.matrix"), cells, scale, rowLabels: names, columnLabels: names, rowAxis: t("query"), columnAxis: t("key"),
      cursor: [position, keyPosition()], pick: (query, key) => { go({ position: query }, { replace: true }); goMore({ key }); } })}
    ${step === "scores" ? terms() : nothing}`;
}

/** The key that is looked at closely: the one picked, or the token itself. */
function keyPosition() {
  const key = Number(state.value.more.key ?? chosen.value.position);
  return Number.isInteger(key) && key >= 0 && key < tokens.value.length ? key : chosen.value.position;
}

/** A dot product opened: every product of a number of the query with one of the key. */
function terms() {
  const q = head("q"), k = head("k"), scores = head("scores_raw"), { layer, head: number, position } = chosen.value;
  if (!q || !k || !scores) return waiting();
  const key = keyPosition(), query = rowOf(q, position), against = rowOf(k, key);
  const products = query.values.map((value, i) => value * against.values[i]);
  const sum = products.reduce((a, b) => a + b, 0), names = labels();
  const formula = `q.${layer}[${number},${position},:] * k.${layer}[${number},${key},:]`;
  const shown = { tensor: formula, shape: [1, products.length], values: products, rows: 1, columns: products.length, offset: 0, steps: [products.length, 1] };
  return html`<h2>${t("attention.terms", { query: names[position], key: names[key] })}</h2>
    ${grid({ title: t("attention.q"), cells: query, scale: "signed" })}
    ${grid({ title: t("attention.k"), cells: against, scale: "signed" })}
    ${grid({ title: t("attention.products"), cells: shown, scale: "signed" })}
    <p>${t("attention.sums")} ${numeral(sum.toFixed(4), `sum(${formula})`, [])};
      <code>scores_raw.${layer}</code>: ${numeral(scores.values[position * scores.columns + key].toFixed(4), `scores_raw.${layer}`, [number, position, key])}</p>`;
}

function vectors() {
  const { position } = chosen.value, names = labels();
  return html`<div class="two"><div>${["q", "k", "v"].map((kind) => vector(kind, position, names[position]))}</div>
    <div>${["q", "k", "v"].map((kind) => {
      const cells = head(kind);
      return cells ? grid({ title: t(`attention.${kind}`), cells, scale: "signed", rowLabels: names, rowAxis: t("position") }) : waiting();
    })}</div></div>`;
}

function vector(kind, position, name) {
  const cells = head(kind);
  return cells ? grid({ title: `${t(`attention.${kind}`)}: ${name}`, cells: rowOf(cells, position), scale: "signed" }) : waiting();
}

/** The article's table: word, weight, value, weight × value; and their sum. */
function sum() {
  const attn = head("attn"), v = head("v"), z = head("z"), { layer, head: number, position } = chosen.value, names = labels();
  if (!attn || !v || !z) return waiting();
  const weights = rowOf(attn, position).values, out = rowOf(z, position);
  const order = Array.from({ length: position + 1 }, (_, i) => i).sort((a, b) => weights[b] - weights[a]).slice(0, MOST_ROWS);
  const total = new Float32Array(out.columns);
  for (let key = 0; key <= position; key++) rowOf(v, key).values.forEach((value, i) => { total[i] += weights[key] * value; });
  const off = Math.max(...total.map((value, i) => Math.abs(value - out.values[i])));
  const first = 4;
  const number3 = (value, tensor, index) => ({ value, tensor, index, form: ".3f" });
  const rows = order.sort((a, b) => a - b).map((key) => [names[key], number3(weights[key], `attn.${layer}`, [number, position, key]),
    ...Array.from({ length: first }, (_, i) => number3(v.values[key * v.columns + i], `v.${layer}`, [number, key, i])),
    ...Array.from({ length: first }, (_, i) => number3(weights[key] * v.values[key * v.columns + i], `attn.${layer} * v.${layer}`, [number, position, key, i]))]);
  const columns = [t("attention.word"), t("attention.weight"), ...head4("v", first), ...head4("w·v", first)];
  return html`${table(t("attention.sum.table", { n: rows.length, all: position + 1 }), columns, rows)}
    ${grid({ title: t("attention.z"), cells: out, scale: "signed" })}
    <p>max |Σ w·v − z| = ${numeral(off.toExponential(1), `sum(attn.${layer} * v.${layer}) - z.${layer}`, [number, position])}</p>`;
}

const head4 = (name, count) => Array.from({ length: count }, (_, i) => `${name}[${i}]`);

function merge() {
  const { layer, position } = chosen.value, d = model.value.config.n_embd;
  const parts = [["zcat", t("attention.zcat")], ["attn_out", t("attention.out")], ["resid.pre", t("attention.before")], ["resid.mid", t("attention.after")]];
  const bias = weightVector(`h.${layer}.attn.c_proj.bias`, d);
  return html`${parts.map(([kind, title]) => {
    const cells = tokenCells(`${kind}.${layer}`, position);
    return cells ? grid({ title, cells, scale: "signed" }) : waiting();
  })}${bias ? grid({ title: t("attention.bias"), cells: bias, scale: "signed" }) : waiting()}`;
}

const DRAW = { vectors, sum, merge };
