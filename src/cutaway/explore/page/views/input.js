// What enters the first block: the token's row of wte, plus its position's row of wpe.

import { html } from "../vendor/lit-html.js";
import { choices } from "../app/controls.js";
import { t } from "../app/i18n.js";
import { ask, chosen, model, tensor, tokens } from "../app/model.js";
import { sheet, tokenCells, weightRow } from "../app/slices.js";
import { goMore, state } from "../app/state.js";
import { grid } from "../draw/cell-grid.js";
import { numeral } from "../draw/numbers.js";
import { bars } from "../draw/panels.js";

export const input = { id: "input", draw };

const POSITIONS = 96; // of the map of position vectors

function draw() {
  const { position } = chosen.value, token = tokens.value[position], { n_vocab, n_ctx, n_embd } = model.value.config;
  const folded = state.value.more.folded === "1";
  const parts = [
    [weightRow("wte.weight", [n_vocab, n_embd], token.id), t("input.wte", { token: token.text, id: token.id })],
    [weightRow("wpe.weight", [n_ctx, n_embd], position), t("input.wpe", { n: position + 1, i: position })],
    [tokenCells("resid.pre.0", position), t("input.sum")],
  ];
  const columns = fold(n_embd);
  return html`${choices(["position"])}
    <p><label><input type="checkbox" .checked=${folded} @change=${(event) => goMore({ folded: event.target.checked ? "1" : null })}>
      ${t("input.fold", { rows: n_embd / columns, columns })}</label></p>
    ${parts.map(([cells, title], i) => html`${i ? html`<p class="sign" aria-hidden="true">${i === 1 ? "+" : "="}</p>` : ""}
      ${cells ? grid({ title, cells: folded ? sheet(cells, columns) : cells, scale: "signed" }) : html`<p>${t("loading")}</p>`}`)}
    ${proof(parts.map(([cells]) => cells), position)}
    <div class="two">${nearest(token)}${similar(position)}</div>`;
}

/** The widest number of columns, up to 32, that folds d numbers without a rest. */
function fold(d) {
  for (let columns = 32; columns > 1; columns--) if (d % columns === 0) return columns;
  return 1;
}

function proof([token, place, sum], position) {
  if (!token || !place || !sum) return "";
  const off = Math.max(...sum.values.map((value, i) => Math.abs(value - Math.fround(token.values[i] + place.values[i]))));
  return html`<p>max |wte + wpe − resid.pre.0| = ${numeral(off.toExponential(1), "wte.weight + wpe.weight - resid.pre.0", [position])}</p>`;
}

function nearest(token) {
  const found = ask(`nearest?token=${token.id}&k=10`)?.tokens;
  if (!found) return html`<p>${t("loading")}</p>`;
  const cells = {
    tensor: `cosine(wte.weight[${token.id}], wte.weight)`, shape: [model.value.config.n_vocab], offset: 0, steps: [0, 0],
    values: Float32Array.from(found, (near) => near.cosine), rows: 1, columns: found.length,
  };
  return bars({ title: t("input.nearest", { token: token.text }), labels: found.map((near) => near.text), cells, scale: "size" });
}

/** How alike the vectors of positions are: the cosine of each pair of the first rows of wpe. */
function similar(position) {
  const { n_ctx, n_embd } = model.value.config, count = Math.min(POSITIONS, n_ctx);
  const found = tensor(`wpe.weight[0:${count},:]`);
  if (!found) return html`<p>${t("loading")}</p>`;
  const rows = Array.from({ length: count }, (_, i) => found.data.subarray(i * n_embd, (i + 1) * n_embd));
  const norms = rows.map((row) => Math.hypot(...row));
  const values = new Float32Array(count * count);
  for (let i = 0; i < count; i++) for (let j = 0; j < count; j++) values[i * count + j] = dot(rows[i], rows[j]) / (norms[i] * norms[j]);
  const names = rows.map((_, i) => String(i));
  const cells = { tensor: "cosine(wpe.weight, wpe.weight)", shape: [count, count], offset: 0, steps: [count, 1], values, rows: count, columns: count };
  return grid({ title: t("input.similar", { n: count }), cells, scale: "signed", rowLabels: names, columnLabels: names, cursor: [Math.min(position, count - 1), 0] });
}

const dot = (one, other) => one.reduce((sum, value, i) => sum + value * other[i], 0);
