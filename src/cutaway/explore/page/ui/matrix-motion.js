// A vector meets a matrix, column by column: each column gives one number of the result, below it.

import { html, nothing, svg } from "../vendor/lit-html.js";
import { colour, range } from "../lib/colours.js";
import { t } from "../state/i18n.js";
import { live } from "../state/session.js";
import { sliceCells } from "../state/slices.js";
import { strip, uprightStrip, withReadout } from "./number-strip.js";
import { numeral } from "./numeral.js";
import { viewport } from "./widgets.js";

export const FRAMES = 33; // the first with nothing computed

const HIGH = 180; // pixels, of the matrix

/**
 * `vector` are cells of one row (1, m), `matrix` the name of the tensor (m, n), and `results` [[title, cells (1, n)], …],
 * the first of which is the product with its bias; of frame `at` those of the columns so far are shown.
 */
export function matrixMotion({ vector, name, matrix, results, at }) {
  const [, product] = results[0];
  const n = product.columns;
  const done = Math.round((at * n) / (FRAMES - 1));
  const wide = viewport.value < 832 ? viewport.value - 160 : Math.min(720, Math.min(viewport.value, 1440) - 640);
  const column = Math.max(0, done - 1);
  const values = live() ? sliceCells(`${matrix}[:,${column}:${column + 1}]`) : undefined;
  const x = (wide * column) / n;
  return withReadout(html`<div class="sweep"><div class="sweep-vector"><small>&nbsp;</small>${uprightStrip(vector, range(vector.values, "signed"), HIGH, name)}<small>${name}</small></div>
    <div><small><code>${matrix}</code> ${vector.columns} × ${n}</small><div class="sweep-matrix"><svg width=${wide} height=${HIGH} role="img" aria-label=${t("motion.matrix", { matrix, done, n })}>${svg`
        <rect width=${wide} height=${HIGH} fill=${colour("weights")} fill-opacity="0.1" stroke=${colour("weights")} stroke-opacity="0.4"></rect>
        <rect class="swept" width=${(wide * done) / n} height=${HIGH} fill=${colour("weights")} fill-opacity="0.22"></rect>
`}</svg>
      ${done && values ? html`<div class="sweep-column" .style=${`left: ${Math.min(x, wide - 14)}px`}>${uprightStrip(values, range(values.values, "signed"), HIGH, `${matrix}[:, ${column}]`)}</div>` : nothing}</div>
      ${results.map(([title, cells]) => html`<div class="sweep-result"><div .style=${`clip-path: inset(0 ${wide - (wide * done) / n}px 0 0)`}>${strip(cells, range(cells.values, "signed"), wide, title)}</div><small>${title}</small></div>`)}</div></div>
    <p>${done ? html`${t("motion.column", { n: column })} ${results.map(([title, cells]) => html`<span class="sum"><code>${cells.tensor}</code> ${numeral(cells.values[column].toFixed(3), cells.tensor, indexed(cells, column))}</span> `)}`
      : t("motion.begin")}</p>`, t("attention.hint"));
}

const indexed = ({ shape, offset }, column) => (shape.length > 1 ? [Math.floor(offset / shape.at(-1)), column] : [column]);
