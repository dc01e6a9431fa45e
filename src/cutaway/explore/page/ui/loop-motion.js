// The loop as it moves: a token enters its column at the bottom, the column climbs layer by layer while the others rest, the
// next token comes out at the top, and drops to the bottom of the next column.

import { nothing, svg, html } from "../vendor/lit-html.js";
import { colour } from "../lib/colours.js";
import { cut, percent } from "../lib/format.js";
import { t } from "../state/i18n.js";
import { model } from "../state/session.js";
import { scrolling, viewport } from "./widgets.js";

const MOST_LAYERS = 12; // that are drawn; of more, the first and the last ones
const LAYER = 15; // pixels
const TOKEN = 26; // pixels
const GAP = 16; // pixels between the columns, and above and below them
const SIDE = 56; // pixels to the left of them, for the layers' names

/** Frames of a column: its token stands at the bottom, half of the layers, all layers, and the next token is out. */
export const PHASES = ["in", "half", "all", "out"];

/**
 * The columns of `tokens`, texts; `null` is an empty slot. `current` is the column that is computed, in one of the
 * `PHASES`, as are those from `fresh` on; `output` the token that comes out of it: {text, probability, tensor, index}.
 */
export function loopMotion({ tokens, current, fresh = current, phase, output, title }) {
  const { n_layer } = model.value.config;
  const layers = layersShown(n_layer);
  const wide = columnWidth(tokens.length);
  const top = TOKEN + GAP;
  const bottom = top + layers.length * LAYER + GAP;
  const x = (column) => SIDE + column * (wide + GAP / 2);
  const reached = { in: 0, half: layers.length >> 1, all: layers.length, out: layers.length }[phase];
  const isOut = phase === "out";
  const kind = (column) => (column > current ? "empty" : column >= fresh ? "computed" : "reused");
  return scrolling(title, html`<svg class="loop" width=${x(tokens.length) + 2} height=${bottom + TOKEN + 22} role="img" aria-label=${sentence(tokens, current, phase, output)}>
    ${[0, layers.length - 1].map((i) => svg`<text class="quiet" y=${bottom - GAP - i * LAYER - 4}>${`${t("layer")} ${layers[i]}`}</text>`)}
    ${tokens.map((token, column) => svg`<g class=${kind(column)}>
      ${layers.map((layer, i) => (layer === null ? svg`<text class="quiet" x=${x(column) + wide / 2} y=${bottom - GAP - (i + 0.25) * LAYER} text-anchor="middle">⋮</text>`
        : svg`<rect class=${column < current || (column === current && i < reached) ? "layer lit" : "layer"} x=${x(column)} y=${bottom - GAP - (i + 1) * LAYER + 2} width=${wide} height=${LAYER - 4} rx="3"
          .style=${`transition-delay: ${column === current ? 0.05 * (i % Math.max(1, layers.length >> 1)) : 0}s`}></rect>`))}
      <rect class="slot" x=${x(column)} y=${bottom} width=${wide} height=${TOKEN} rx="5"></rect>
      <text class="quiet" x=${x(column) + wide / 2} y=${bottom + TOKEN + 16} text-anchor="middle">${t(`loop.column.${kind(column)}`)}</text></g>`)}
    ${[...tokens, null].map((token, column) => { // what comes out of a column is drawn as the token of the next, so that it moves there
    if (column <= current) return box(token, x(column), bottom, wide, "");
    return column === current + 1 && output ? box(output.text, x(current), isOut ? 4 : 4 + GAP, wide, isOut ? "output" : "output hidden") : nothing;
  })}
    ${output?.probability === undefined ? nothing : svg`<text class=${isOut ? "number quiet" : "number quiet hidden"} x=${x(current) + wide + 6} y="22" data-tensor=${output.tensor} data-index=${output.index.join(",")}>${percent(output.probability)}</text>`}
  </svg>`);
}

function layersShown(n) {
  const all = Array.from({ length: n }, (_, layer) => layer);
  return n <= MOST_LAYERS ? all : [...all.slice(0, 4), null, ...all.slice(-4)];
}

const columnWidth = (count) => Math.max(48, Math.min(110, ((viewport.value < 832 ? viewport.value - 40 : Math.min(viewport.value, 1440) - 620) - GAP - SIDE) / count - GAP / 2));

/** A token in its box, which moves to its place. */
const box = (text, x, y, wide, kind) => svg`<g class="moving ${kind}" .style=${`transform: translate(${x}px, ${y}px)`}>
  <rect width=${wide} height=${TOKEN} rx="5" fill=${colour("token")} fill-opacity="0.16" stroke=${colour("token")}></rect>
  <text x=${wide / 2} y="18" text-anchor="middle">${cut(text, Math.floor((wide - 6) / 7.9))}</text></g>`;

/** The frame in words. */
function sentence(tokens, current, phase, output) {
  return t(`loop.frame.${phase}`, { token: tokens[current], n: current + 1, next: output?.text ?? "" });
}
