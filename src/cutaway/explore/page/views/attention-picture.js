// One head's attention for one token as one picture: the query above, a row for each token that it meets, a column for
// each step, and their sum below.

import { html, nothing } from "../vendor/lit-html.js";
import { computedCells, rowOf } from "../lib/cells.js";
import { range } from "../lib/colours.js";
import { percent } from "../lib/format.js";
import { divisorOf } from "../lib/mathematics.js";
import { t } from "../state/i18n.js";
import { goMore } from "../state/navigation.js";
import { chosen, ids, labels, model, pointed } from "../state/session.js";
import { headCells, headRow } from "../state/slices.js";
import { strip, withReadout } from "../ui/number-strip.js";
import { numeral } from "../ui/numeral.js";
import { meter, scrolling, signedBar, swatch, viewport, waiting } from "../ui/widgets.js";

const MOST_ROWS = 12; // of longer texts, the tokens with the largest weights

/** The columns that each step lights. */
const LIT = { vectors: ["k", "v"], scores: ["raw"], scaled: ["scaled"], masked: ["scaled", "mask"], softmax: ["w"], sum: ["v", "wv", "z"], merge: ["z"] };

/** The picture, with the columns of a step lit; all of them without a step. `key` is the row that is marked. */
export function picture(step, key) {
  const { layer, head, position } = chosen.value;
  const [k, v] = ["k", "v"].map((kind) => headCells(kind, layer, head));
  const [query, raw, scaled, attn, z] = ["q", "scores_raw", "scores", "attn", "z"].map((kind) => headRow(kind, layer, head, position));
  if (![k, v, query, raw, scaled, attn, z].every(Boolean)) return waiting();
  const shown = rows(attn.values, position);
  const wide = viewport.value < 832 ? 48 : Math.max(110, Math.min(190, (viewport.value - 192 - 640) / 3));
  const is = (name) => (step && LIT[step].includes(name) ? "lit" : "");
  const keys = { ends: range(k.values, "signed"), wide };
  const values = { ends: range(v.values, "signed"), wide };
  const { config } = model.value;
  const largest = Math.max(...shown.map((j) => Math.abs(raw.values[j]))) || 1;
  const token = labels.value[position];
  return withReadout(html`${shown.length < ids.value.length ? html`<p class="note">${t("attention.rows", { n: shown.length, all: ids.value.length })}</p>` : nothing}
    ${scrolling(t("attention.picture"), html`<table class="meeting" aria-label=${t("attention.picture")} data-step=${step ?? nothing}>
    <thead>
      <tr><th scope="row" class="right">${swatch("query")} ${t("attention.query.of", { token })}</th><td class=${is("k") || is("raw")}>${strip(query, range(query.values, "signed"), wide, t("attention.query.of", { token }))}</td><td colspan="5"></td></tr>
      <tr><td></td><th scope="col" class=${is("k")}>${swatch("key")} ${t("attention.col.k")}</th><th scope="col" class=${is("raw")}>q · k</th><th scope="col" class="spare ${is("scaled")}">÷ ${divisorOf(config, layer).divisor}</th>
        <th scope="col" class=${is("w")}>${swatch("score")} softmax</th><th scope="col" class="spare ${is("v")}">${swatch("value")} ${t("attention.col.v")}</th><th scope="col" class=${is("wv")}>${t("attention.col.wv")}</th></tr>
    </thead>
    <tbody>${shown.map((j) => row(j, { position, layer, head, raw, scaled, attn, k, v, keys, values, largest, is, isKey: j === key }))}</tbody>
    <tfoot><tr><td></td><td></td><td></td><td class="spare"></td><td class=${is("w")}><span class="number">${t("attention.total")} ${total(attn)}</span></td><td class="spare"></td>
      <td class=${is("z")}>${strip(z, values.ends, wide, t("attention.z"))}<small>${t("attention.z")}</small></td></tr></tfoot></table>`)}`, t("attention.hint"));
}

/** The tokens of the rows: all of a short text, or those with the largest weights, in the order of the text. */
function rows(weights, position) {
  const all = Array.from(weights, (_, j) => j);
  if (all.length <= MOST_ROWS) return all;
  const heavy = all.filter((j) => j !== position).sort((a, b) => weights[b] - weights[a]).slice(0, MOST_ROWS - 1);
  return [...heavy, position].sort((a, b) => a - b);
}

function row(j, { position, layer, head, raw, scaled, attn, k, v, keys, values, largest, is, isKey }) {
  const at = (cells) => cells.values[j];
  const weight = at(attn);
  const isMasked = j > position && weight === 0;
  const value = rowOf(v, j);
  const faded = computedCells(`attn.${layer}[${head},${position},${j}] * v.${layer}[${head},${j}]`, value.values.map((each) => weight * each));
  const name = labels.value[j];
  return html`<tr class="${isKey ? "marked" : ""} ${isMasked ? "later" : ""}" @pointerenter=${() => { pointed.value = { key: j }; }} @pointerleave=${() => { pointed.value = {}; }}><th scope="row" class="right"><button type="button" class="token" aria-pressed=${isKey} @click=${() => goMore({ key: j })}>${viewport.value < 832 && name.length > 8 ? `${name.slice(0, 7)}…` : name}</button></th>
    <td class=${is("k")}>${strip(rowOf(k, j), keys.ends, keys.wide, `${t("attention.col.k")} ${name}`)}</td>
    <td class="dot ${is("raw")}">${signedBar(at(raw), largest)}${numeral(at(raw).toFixed(2), `scores_raw.${layer}`, [head, position, j])}</td>
    <td class="right spare ${is("scaled")}">${isMasked && is("mask") ? html`<span class="number">−∞</span>` : numeral(at(scaled).toFixed(2), `scores.${layer}`, [head, position, j])}</td>
    <td class="weight ${is("w")}">${isMasked ? html`<small>${t("attention.later")}</small>` : html`${meter(weight)}${numeral(percent(weight), `attn.${layer}`, [head, position, j])}`}</td>
    <td class="spare ${is("v")}">${strip(value, values.ends, values.wide, `${t("attention.col.v")} ${name}`)}</td>
    <td class=${is("wv")}>${strip(faded, values.ends, values.wide, `${t("attention.col.wv")} ${name}`)}</td></tr>`;
}

const total = (attn) => percent(attn.values.reduce((a, b) => a + b, 0), 0);
