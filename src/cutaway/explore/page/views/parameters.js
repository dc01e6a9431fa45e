// Parameter counts: the matrices drawn to scale, and the table of all tensors beside the article's.

import { html, svg } from "../vendor/lit-html.js";
import { colour } from "../lib/colours.js";
import { grouped } from "../lib/format.js";
import { inLines, matricesOf, strips } from "../lib/matrix-layout.js";
import { t } from "../state/i18n.js";
import { ask, askTrace, model } from "../state/session.js";
import { numeral } from "../ui/numeral.js";
import { panel } from "../ui/panels.js";
import { picture } from "../ui/svg-file.js";
import { claim, scrolling, swatch, waiting } from "../ui/widgets.js";

export const parameters = { id: "parameters", group: "look", draw };

const WIDE = 960; // pixels, the width of the drawing of the whole model
const AREA = WIDE * 420; // square pixels, of its matrices
const BLOCK = 640; // pixels, the width of the drawing of one block
const LABEL = 38; // pixels above a matrix
const GAP = 12; // pixels between two matrices
const COLOURS = { "wte.weight": "token", "wpe.weight": "weights", "lm_head.weight": "score", "attn.c_attn.weight": "query",
  "attn.c_proj.weight": "output", "mlp.c_fc.weight": "mlp", "mlp.c_proj.weight": "reused" };

function draw() {
  const tensors = ask("parameters")?.tensors;
  const table = askTrace("figures/F59");
  if (!tensors) return waiting();
  const matrices = matricesOf(tensors);
  return html`${total()}${wholeModel(matrices)}${oneBlock(matrices)}
    <h2>${t("parameters.table")}</h2><p class="note">${t("parameters.table.note", { n: model.value.config.n_layer })}</p>
    ${table ? html`${table.panels.map(panel)}${claim(table.check)}` : waiting()}`;
}

function total() {
  const { n_params, checkpoint } = model.value;
  return html`<p>${t("parameters.total")}<b>${numeral(grouped(n_params), "size(*)", [])}</b> ·
    ${t("parameters.file", { name: checkpoint.name })}${numeral(grouped(checkpoint.bytes), "checkpoint.bytes", [])}</p>`;
}

function wholeModel(matrices) {
  const { n_layer, n_ctx } = model.value.config;
  const drawn = matrices.reduce((sum, matrix) => sum + matrix.numbers, 0);
  const unit = Math.sqrt(AREA / drawn);
  const outside = inLines(matrices.filter((matrix) => !matrix.inBlock).flatMap((matrix) => strips(matrix, unit, WIDE)), WIDE);
  const inside = block(matrices.filter((matrix) => matrix.inBlock), unit);
  const blocks = inLines(Array.from({ length: n_layer }, (_, layer) => ({ layer, ...inside })), WIDE, 4);
  const high = outside.high + GAP + blocks.high;
  return html`<h2>${t("parameters.whole")}</h2><p class="note">${t("parameters.whole.note", { rows: n_ctx })}</p>
    ${picture("parameters", t("parameters.whole"), html`<svg class="parameters" viewBox="-1 -1 ${WIDE + 2} ${high + 2}" role="img" aria-label=${t("parameters.whole.sentence", { n: n_layer })}>
      ${outside.placed.map((strip) => rectangle(strip, strip.matrix.tensor))}
      ${blocks.placed.map(({ layer, x, y, placed }) => svg`<g transform="translate(${x} ${outside.high + GAP + y})">
        ${placed.map((strip) => rectangle(strip, `h.${layer}.${strip.matrix.name}`))}</g>`)}</svg>`)}${legend(matrices, model.value.n_params - drawn)}`;
}

const legend = (matrices, rest) => html`<ul class="legend-list">${matrices.map((matrix) => html`<li>${swatch(COLOURS[matrix.name])} <code>${matrix.tensor}</code>
  <span>${shape(matrix)}</span> ${numeral(share(matrix.numbers), `size(${matrix.tensor}) / size(*)`, [])}</li>`)}
  <li><span>${t(hasRelative() ? "parameters.rest.relative" : "parameters.rest")}</span> ${numeral(share(rest), `size(*.bias, ln_*${hasRelative() ? ", *.attn.relative.*" : ""}) / size(*)`, [])}</li></ul>`;

const hasRelative = () => model.value.config.relative_positions > 0;

/** A block's matrices packed into a rectangle as wide as the widest. */
function block(matrices, unit) {
  const lying = matrices.flatMap((matrix) => strips(matrix, unit, WIDE));
  const wide = Math.max(...lying.map((strip) => strip.wide));
  return { ...inLines(lying, wide), wide };
}

const shape = ({ rows, columns }) => `${grouped(rows)} × ${grouped(columns)}`;
const share = (size) => `${((100 * size) / model.value.n_params).toFixed(1)} %`;

function rectangle({ matrix, x, y, wide, high }, tensor) {
  return svg`<rect x=${x} y=${y} width=${wide} height=${high} fill=${colour(COLOURS[matrix.name])} stroke=${colour(COLOURS[matrix.name])}
    data-tensor="shape(${tensor})" data-index=""><title>${tensor} ${shape(matrix)}</title></rect>`;
}

/** One block with rows down and columns across, as the matrices are multiplied; the line below each is its bias. */
function oneBlock(matrices) {
  const [attention, projection, hidden, back] = ["attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"].map((name) => matrices.find((each) => each.name === `${name}.weight`));
  const unit = BLOCK / (Math.max(attention.columns + projection.columns, hidden.columns) + back.columns);
  const beside = unit * attention.columns + GAP;
  const below = LABEL + unit * attention.rows + GAP;
  const far = Math.max(beside + unit * projection.columns, unit * hidden.columns) + GAP;
  const placed = [[attention, 0, 0], [projection, beside, 0], [hidden, 0, below], [back, far, 0]];
  const wide = Math.max(...placed.map(([matrix, x]) => x + Math.max(unit * matrix.columns, 130)));
  const high = Math.max(...placed.map(([matrix, , y]) => y + LABEL + unit * matrix.rows)) + 6;
  const title = t("parameters.block");
  return html`<h2>${title}</h2><p class="note">${t("parameters.block.note")}</p>
    ${picture("block", title, scrolling(title, html`<svg class="parameters block" width=${wide + 2} height=${high} role="img" aria-label=${title}>
      ${placed.map(([matrix, x, y]) => labelled(matrix, x, y, unit))}</svg>`))}`;
}

function labelled(matrix, x, y, unit) {
  const at = { matrix, x: x + 1, y: y + LABEL, wide: unit * matrix.columns, high: unit * matrix.rows };
  const under = at.y + at.high + 3;
  return svg`<text x=${x + 1} y=${y + 14}>${matrix.name.replace(".weight", "")}</text><text class="quiet" x=${x + 1} y=${y + 30}>${shape(matrix)}</text>
    ${rectangle(at, matrix.tensor)}<path class="frame" d="M${at.x} ${under}h${at.wide}"></path>`;
}
