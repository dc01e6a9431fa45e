// The MLP of a layer for one token: up projection, activation (GELU), down projection, residual.

import { html, nothing, svg } from "../vendor/lit-html.js";
import { farthest, fold, rowsOf } from "../lib/cells.js";
import { apart, grouped } from "../lib/format.js";
import { ACTIVATIONS } from "../lib/mathematics.js";
import { gap, t } from "../state/i18n.js";
import { goMore, ownNumber } from "../state/navigation.js";
import { askTrace, chosen, ids, labels, model } from "../state/session.js";
import { rowCells, sliceCells } from "../state/slices.js";
import { grid, signedGrid, strips } from "../ui/cell-grid.js";
import { choices } from "../ui/controls.js";
import { numeral } from "../ui/numeral.js";
import { bars } from "../ui/panels.js";
import { picture } from "../ui/svg-file.js";
import { meter, scrolling, waiting } from "../ui/widgets.js";

export const mlp = { id: "mlp", group: "inside", isPlaced: true, draw, attempt };

const TOP = 10; // neurons in the list
const NAMED = 4; // promoted tokens of each
const PROMOTED = 12; // promoted tokens of the selected neuron
const MOST_TOKENS = 24; // for which a neuron's activations are shown

/** The model's activation: {name, at}. */
const activation = () => ACTIVATIONS[model.value.config.activation_function];
const act = () => activation().name;

/** What the model's activation is: the text of those that have `own` ones, or that of the others. */
const bends = (name, own) => t(own.includes(activation()) ? `${name}.${model.value.config.activation_function}` : name, { act: act() });

function attempt() {
  return { change: { layer: model.value.config.n_layer - 1, position: -1, more: {} } };
}

function draw() {
  const { position } = chosen.value;
  const { n_inner, n_embd } = model.value.config;
  const [before, after] = ["mlp_pre", "mlp_act"].map(part);
  return html`${choices(["layer", "position"])}
    <p class="note">${t("mlp.way", { d: n_embd, inner: n_inner })}${gap()}${bends("mlp.bends", [ACTIVATIONS.relu, ACTIVATIONS.tanh])}${gap()}${t("mlp.way.back", { d: n_embd })}</p>
    ${signedGrid(t("mlp.ln2", { token: labels.value[position] }), part("ln2"))}
    ${before && after ? units(before, after) : waiting()}
    <h2>${t("mlp.back")}</h2><p class="note">${t("mlp.back.note")}</p>
    ${added()}${proof()}`;
}

/** What the MLP adds, what was there, and their sum, in one scale. */
function added() {
  const parts = [["mlp.out", part("mlp_out")], ["mlp.mid", part("resid.mid")], ["mlp.post", part("resid.post")]];
  return strips(parts.map(([words, cells]) => ({ title: t(words), cells })));
}

function part(kind) {
  const { layer, position } = chosen.value;
  return rowCells(`${kind}.${layer}`, position);
}

function units(before, after) {
  const order = Array.from(after.values, (_, i) => i).sort((a, b) => after.values[b] - after.values[a]).slice(0, TOP);
  const unit = ownNumber("unit", model.value.config.n_inner, order[0]);
  const columns = foldColumns(after.columns);
  const folded = (cells, title) => grid({ title, cells: fold(cells, columns), scale: "signed", cursor: [Math.floor(unit / columns), unit % columns],
    pick: (row, column) => goMore({ unit: row * columns + column }) });
  return html`<h2>${t("mlp.units", { n: after.columns })}</h2>
    <p class="note">${t("mlp.units.note", { rows: after.columns / columns, columns })}${gap()}${positive(after)}</p>
    <div class="two">${folded(before, t("motion.before", { act: act() }))}${folded(after, t("motion.after", { act: act() }))}</div>
    <div class="two">${strongest(order, unit, before, after)}<div>${curveOf(order, before, after)}</div></div>
    <h2>${t("mlp.one", { unit })}</h2><div class="two">${promotes(unit)}${inText(unit)}</div>`;
}

/** The smallest divisor of n that makes the sheet at least 4:3 wide: 64 for 3072, n itself for a prime. */
function foldColumns(n) {
  let columns = Math.ceil(Math.sqrt((n * 4) / 3));
  while (n % columns) columns++;
  return columns;
}

function positive(after) {
  const { layer, position } = chosen.value;
  const count = after.values.reduce((sum, value) => sum + (value > 0), 0);
  return html`${t("mlp.positive", { act: act() })}${numeral(String(count), `count(mlp_act.${layer} > 0)`, [position])}`;
}

function strongest(order, unit, before, after) {
  const { layer, position } = chosen.value;
  const found = promotedBy(order, NAMED);
  const title = t("mlp.strongest", { n: order.length });
  const number = (cells, kind, i) => html`<td class="right">${numeral(cells.values[i].toFixed(3), `${kind}.${layer}`, [position, i])}</td>`;
  const names = (i) => (found ? found[i].map(({ text }) => html`<span class="token symbol">${text}</span>`) : "…");
  return html`<section><h3>${title}</h3>${scrolling(title, html`<table aria-label=${title}>
    <thead><tr><th scope="col">${t("mlp.unit")}</th><th scope="col" class="right">${t("motion.before", { act: act() })}</th><th scope="col" class="right">${t("motion.after", { act: act() })}</th><th scope="col">${t("mlp.names")}</th></tr></thead>
    <tbody>${order.map((i, row) => html`<tr><th scope="row">
      <button type="button" class="quiet" aria-pressed=${i === unit} @click=${() => goMore({ unit: i })}>${grouped(i)}</button></th>
      ${number(before, "mlp_pre", i)}${number(after, "mlp_act", i)}<td class="names">${names(row)}</td></tr>`)}</tbody></table>`)}</section>`;
}

/** The k tokens whose logits each of these neurons raises most; undefined until the response arrives. */
function promotedBy(units, k) {
  const { layer } = chosen.value;
  const asked = `units?layer=${layer}&units=${units.join(",")}&k=${Math.min(k, model.value.config.n_vocab)}`;
  return askTrace(asked)?.units.map((unit) => unit.top);
}

function promotes(unit) {
  const found = promotedBy([unit], PROMOTED);
  const { layer } = chosen.value;
  if (!found) return waiting();
  const [top] = found;
  const formula = `(h.${layer}.mlp.c_proj.weight[${unit},:] - mean) * ln_f.weight @ ${model.value.config.tie_word_embeddings ? "wte" : "lm_head"}.weight.T`;
  return html`<section aria-labelledby="promotes"><h3 id="promotes">${t("mlp.promotes")}</h3><p class="note">${t("mlp.promotes.note")}</p>
    <ol class="bars">${top.map(({ id, text, adds }) => html`<li><span class="token">${text}</span>
      ${meter(Math.max(0, adds), top[0].adds)}${numeral(adds.toFixed(3), formula, [id])}</li>`)}</ol></section>`;
}

const WIDE = 320; // pixels, of the curve
const HIGH = 200;

/** The curve with the token's most active neurons on it: pre-activation on x, activation on y. */
function curveOf(order, before, after) {
  const { layer, position } = chosen.value;
  const most = 1.05 * Math.max(3, ...order.map((i) => before.values[i]));
  const x = (value) => (WIDE * (value + 3)) / (most + 3);
  const low = Math.max(0.3, 0.05 - activation().at(-3)); // of all but tanh the lowest value is above -0.3
  const y = (value) => HIGH - 8 - ((HIGH - 16) * (value + low)) / (most + low);
  const curve = Array.from({ length: 81 }, (_, i) => -3 + (i * (most + 3)) / 80).map((at) => `${x(at).toFixed(1)} ${y(activation().at(at)).toFixed(1)}`);
  const title = t("mlp.gelu", { act: act() });
  return html`<figure><figcaption>${title}</figcaption>
    ${picture("gelu", title, html`<svg class="gelu" viewBox="0 0 ${WIDE} ${HIGH}" width=${WIDE} role="img" aria-label=${t("mlp.gelu.sentence", { act: act(), n: order.length })}>
      <path class="axis" d="M0 ${y(0)}H${WIDE}M${x(0)} 0V${HIGH}"></path><path class="curve" d="M${curve.join("L")}"></path>
      ${order.map((i) => svg`<circle r="4" cx=${x(before.values[i])} cy=${y(after.values[i])} data-tensor=${`mlp_act.${layer}`} data-index="${position},${i}"></circle>`)}
    </svg>`)}<p class="note">${t("mlp.gelu.note")}${gap()}${bends("mlp.form", [ACTIVATIONS.gelu_new, ACTIVATIONS.gelu])}</p></figure>`;
}

/** A neuron's activation at each token. */
function inText(unit) {
  const column = sliceCells(`mlp_act.${chosen.value.layer}[:,${unit}:${unit + 1}]`);
  if (!column) return waiting();
  const first = windowStart();
  const count = Math.min(MOST_TOKENS, ids.value.length);
  const end = first + count;
  const title = t("mlp.text", { act: act(), unit, from: first + 1, to: end, all: ids.value.length });
  return bars({ title, labels: labels.value.slice(first, end), cells: rowsOf(column, first, end), scale: "size" });
}

/** The first token shown; of long texts, a window around the selected one. */
function windowStart() {
  const last = Math.max(0, ids.value.length - MOST_TOKENS);
  return Math.min(last, Math.max(0, chosen.value.position - MOST_TOKENS / 2));
}

function proof() {
  const [middle, out, post] = ["resid.mid", "mlp_out", "resid.post"].map(part);
  const { layer, position } = chosen.value;
  if (!middle || !out || !post) return nothing;
  const off = farthest(post.values, middle.values.map((value, i) => value + out.values[i]));
  return html`<p>${t("recomputed")}<code>max |resid.mid + mlp_out − resid.post|</code> =
    ${numeral(apart(off), `resid.mid.${layer} + mlp_out.${layer} - resid.post.${layer}`, [position])}</p>`;
}
