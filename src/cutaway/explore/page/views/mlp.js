// The MLP of a layer for one token: wider, through GELU, back again, and added to what came in.

import { html, svg } from "../vendor/lit-html.js";
import { choices } from "../app/controls.js";
import { t } from "../app/i18n.js";
import { chosen, ids, model, tensor, tokens } from "../app/model.js";
import { shapeOf, sheet, tokenCells } from "../app/slices.js";
import { goMore, state } from "../app/state.js";
import { grid } from "../draw/cell-grid.js";
import { cellsOf, numeral } from "../draw/numbers.js";
import { bars } from "../draw/panels.js";

export const mlp = { id: "mlp", draw };

const TOP = 10; // units in the list
const MOST_TOKENS = 24; // for which a unit's numbers are shown

function draw() {
  const { layer, position } = chosen.value, token = tokens.value[position].text, { n_inner, n_embd } = model.value.config;
  const [before, after] = ["mlp_pre", "mlp_act"].map((kind) => tokenCells(`${kind}.${layer}`, position));
  return html`${choices(["layer", "position"])}
    <p class="note">${t("mlp.way", { d: n_embd, inner: n_inner })}</p>
    ${vector("ln2", t("mlp.ln2", { token }))}
    ${before && after ? units(before, after) : waiting()}
    <h2>${t("mlp.back")}</h2><p class="note">${t("mlp.back.note")}</p>
    ${vector("mlp_out", t("mlp.out"))}${vector("resid.mid", t("mlp.mid"))}${vector("resid.post", t("mlp.post"))}${proof()}`;
}

const waiting = () => html`<p>${t("loading")}</p>`;

function part(kind) {
  const { layer, position } = chosen.value;
  return tokenCells(`${kind}.${layer}`, position);
}

function vector(kind, title) {
  const cells = part(kind);
  return cells ? grid({ title, cells, scale: "signed" }) : waiting();
}

function units(before, after) {
  const order = Array.from(after.values, (_, i) => i).sort((a, b) => after.values[b] - after.values[a]).slice(0, TOP);
  const unit = openUnit(order[0]), columns = fold(after.columns), at = [Math.floor(unit / columns), unit % columns];
  const folded = (cells, title) => grid({ title, cells: sheet(cells, columns), scale: "signed", cursor: at,
    pick: (row, column) => goMore({ unit: row * columns + column }) });
  return html`<h2>${t("mlp.units", { n: after.columns })}</h2>
    <p class="note">${t("mlp.units.note", { rows: after.columns / columns, columns })} ${positive(after)}</p>
    <div class="two">${folded(before, t("mlp.pre"))}${folded(after, t("mlp.act"))}</div>
    <div class="two">${strongest(order, unit, before, after)}<div>${gelu(order, before, after)}</div></div>
    ${inText(unit)}`;
}

/** The unit that was picked, or the strongest. */
function openUnit(strongest) {
  const unit = Number(state.value.more.unit ?? strongest);
  return Number.isInteger(unit) && unit >= 0 && unit < model.value.config.n_inner ? unit : strongest;
}

/** The fewest columns, of at least 4 to 3 rows, that n numbers fill without a rest: 64 for 3072; n itself for a prime. */
function fold(n) {
  let columns = Math.ceil(Math.sqrt((n * 4) / 3));
  while (n % columns) columns++;
  return columns;
}

function positive(after) {
  const { layer, position } = chosen.value, count = after.values.reduce((sum, value) => sum + (value > 0), 0);
  return html`${t("mlp.positive")} ${numeral(String(count), `count(mlp_act.${layer} > 0)`, [position])}`;
}

function strongest(order, unit, before, after) {
  const { layer, position } = chosen.value;
  const number = (cells, kind, i) => html`<td class="right">${numeral(cells.values[i].toFixed(3), `${kind}.${layer}`, [position, i])}</td>`;
  return html`<section aria-labelledby="strongest"><h3 id="strongest">${t("mlp.strongest", { n: order.length })}</h3><table>
    <thead><tr><th scope="col">${t("mlp.unit")}</th><th scope="col">${t("mlp.pre")}</th><th scope="col">${t("mlp.act")}</th></tr></thead>
    <tbody>${order.map((i) => html`<tr><th scope="row">
      <button type="button" class="quiet" aria-pressed=${i === unit} @click=${() => goMore({ unit: i })}>${i}</button></th>
      ${number(before, "mlp_pre", i)}${number(after, "mlp_act", i)}</tr>`)}</tbody></table></section>`;
}

const WIDE = 320, HIGH = 200; // of the curve, in pixels

/** GELU as GPT-2 computes it, with tanh. */
const geluOf = (x) => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)));

/** The curve, and on it the strongest units of the token: before GELU across, after it upwards. */
function gelu(order, before, after) {
  const { layer, position } = chosen.value, most = 1.05 * Math.max(3, ...order.map((i) => before.values[i]));
  const x = (value) => (WIDE * (value + 3)) / (most + 3), y = (value) => HIGH - 8 - ((HIGH - 16) * (value + 0.3)) / (most + 0.3);
  const curve = Array.from({ length: 81 }, (_, i) => -3 + (i * (most + 3)) / 80).map((at) => `${x(at).toFixed(1)} ${y(geluOf(at)).toFixed(1)}`);
  const title = t("mlp.gelu");
  return html`<figure><figcaption>${title}</figcaption>
    <svg class="gelu" viewBox="0 0 ${WIDE} ${HIGH}" width=${WIDE} role="img" aria-label=${t("mlp.gelu.sentence", { n: order.length })}>
      <path class="axis" d="M0 ${y(0)}H${WIDE}M${x(0)} 0V${HIGH}"></path><path class="curve" d="M${curve.join("L")}"></path>
      ${order.map((i) => svg`<circle r="4" cx=${x(before.values[i])} cy=${y(after.values[i])} data-tensor=${`mlp_act.${layer}`} data-index="${position},${i}"></circle>`)}
    </svg><p class="note">${t("mlp.gelu.note")}</p></figure>`;
}

/** How strong one unit is at the tokens of the text. */
function inText(unit) {
  const { layer } = chosen.value, shape = shapeOf("mlp_act"), found = tensor(`mlp_act.${layer}[:,${unit}]`);
  if (!found) return waiting();
  const first = windowStart(), count = Math.min(MOST_TOKENS, ids.value.length);
  const cells = cellsOf(`mlp_act.${layer}`, shape, found.data.subarray(first, first + count), count, 1, first * shape[1] + unit, [shape[1], 1]);
  const names = tokens.value.slice(first, first + count).map((token) => token.text);
  const title = t("mlp.text", { unit, from: first + 1, to: first + count, all: ids.value.length });
  return bars({ title, labels: names, cells, scale: "size" });
}

/** The first of the tokens shown: the chosen one is in the middle of a long text. */
function windowStart() {
  const last = Math.max(0, ids.value.length - MOST_TOKENS);
  return Math.min(last, Math.max(0, chosen.value.position - MOST_TOKENS / 2));
}

function proof() {
  const [middle, out, post] = ["resid.mid", "mlp_out", "resid.post"].map(part), { layer, position } = chosen.value;
  if (!middle || !out || !post) return "";
  const off = Math.max(...post.values.map((value, i) => Math.abs(value - Math.fround(middle.values[i] + out.values[i]))));
  return html`<p>max |resid.mid + mlp_out − resid.post| =
    ${numeral(off.toExponential(1), `resid.mid.${layer} + mlp_out.${layer} - resid.post.${layer}`, [position])}</p>`;
}
