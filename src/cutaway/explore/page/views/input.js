// The input of the first block: the token's row of wte plus its position's row of wpe.

import { html, nothing } from "../vendor/lit-html.js";
import { computedCells, farthest, fold } from "../lib/cells.js";
import { apart } from "../lib/format.js";
import { t } from "../state/i18n.js";
import { isOn } from "../state/navigation.js";
import { ask, labels, model, position as selected, singledLink, tensor, tokens } from "../state/session.js";
import { rowCells } from "../state/slices.js";
import { signedGrid, strips } from "../ui/cell-grid.js";
import { checkbox, choices } from "../ui/controls.js";
import { numeral } from "../ui/numeral.js";
import { bars } from "../ui/panels.js";
import { waiting } from "../ui/widgets.js";

export const input = { id: "input", group: "inside", draw, attempt };

const POSITIONS = 96; // in the map of similarities

/** The token that the last one looks at. */
function attempt() {
  const link = singledLink();
  return link && { words: link.words, change: { position: link.key } };
}

function draw() {
  const position = selected.value;
  const { id } = tokens.value[position];
  const token = labels.value[position];
  const { n_embd } = model.value.config;
  const parts = [
    [t("input.wte", { token, id }), rowCells("wte.weight", id)],
    [t("input.wpe", { n: position + 1, i: position }), rowCells("wpe.weight", position)],
    [t("input.sum"), rowCells("resid.pre.0", position)],
  ];
  const columns = foldColumns(n_embd);
  const shown = (cells) => (cells && isOn("folded") ? fold(cells, columns) : cells);
  return html`${choices(["position"])}
    <p>${checkbox("folded", t("input.fold", { rows: n_embd / columns, columns }))}</p>
    ${strips(parts.map(([title, cells], i) => ({ title, cells: shown(cells), before: sign(i) })))}
    ${proof(parts.map(([, cells]) => cells), position)}
    <div class="two">${nearest(id, token)}${similar(position)}</div>`;
}

const sign = (i) => (i ? html`<p class="sign" aria-hidden="true">${i === 1 ? "+" : "="}</p>` : nothing);

/** The largest divisor of d up to 32. */
function foldColumns(d) {
  for (let columns = 32; columns > 1; columns--) if (d % columns === 0) return columns;
  return 1;
}

function proof([token, place, sum], position) {
  if (!token || !place || !sum) return nothing;
  const off = farthest(sum.values, token.values.map((value, i) => value + place.values[i]));
  return html`<p>${t("recomputed")}<code>max |wte + wpe − resid.pre.0|</code> = ${numeral(apart(off), "wte.weight + wpe.weight - resid.pre.0", [position])}</p>`;
}

function nearest(id, token) {
  const found = ask(`nearest?token=${id}&k=10`)?.tokens;
  if (!found) return waiting();
  const cells = computedCells(`cosine(wte.weight[${id}], wte.weight)`, found.map((near) => near.cosine));
  return bars({ title: t("input.nearest", { token }), labels: found.map((near) => near.text), cells, scale: "size" });
}

/** Similarity of positions: the cosine of each pair of the first rows of wpe. */
function similar(position) {
  const count = Math.min(POSITIONS, model.value.config.n_ctx);
  const found = tensor(`wpe.weight[0:${count},:]`);
  if (!found) return waiting();
  const names = Array.from({ length: count }, (_, i) => String(i));
  const cells = computedCells("cosine(wpe.weight, wpe.weight)", cosines(found), count);
  return signedGrid(t("input.similar", { n: count }), cells, {
    rowLabels: names, columnLabels: names, rowAxis: t("whatif.position"), columnAxis: t("whatif.position"), cursor: [Math.min(position, count - 1), 0],
  });
}

/** Cosine of each row with each, flat. */
function cosines({ shape: [count, width], data }) {
  const rows = Array.from({ length: count }, (_, i) => data.subarray(i * width, (i + 1) * width));
  const lengths = rows.map((row) => Math.hypot(...row));
  const dot = (one, other) => one.reduce((sum, value, i) => sum + value * other[i], 0);
  return rows.flatMap((one, i) => rows.map((other, j) => dot(one, other) / (lengths[i] * lengths[j])));
}
