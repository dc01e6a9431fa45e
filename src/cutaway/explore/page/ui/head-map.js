// All heads as a small map, a column for each layer and a row for each head: the stronger the colour, the more the selected
// token gives to one token that is neither the first nor itself. Arrow keys walk through it.

import { html, nothing } from "../vendor/lit-html.js";
import { paint } from "../lib/colours.js";
import { percent } from "../lib/format.js";
import { t } from "../state/i18n.js";
import { go } from "../state/navigation.js";
import { chosen, hasHeads, model, summary } from "../state/session.js";

const SIDE = [[10, 17], [16, 14], [24, 10], [Infinity, 8]]; // [most layers or heads of one, pixels of a cell]

/** The map; nothing in an exported file that has one head. */
export function headMap() {
  const { layer, head, position } = chosen.value;
  const layers = hasHeads() ? summary(position) : undefined;
  if (!layers) return nothing;
  const { n_head } = model.value.config;
  const [, side] = SIDE.find(([most]) => Math.max(n_head, layers.length) <= most);
  return html`<div class="head-map scroll" role="group" aria-label=${t("map")} @keydown=${walk} .style=${`grid-template-columns: repeat(${layers.length}, ${side}px); grid-auto-rows: ${side}px`}>
    ${Array.from({ length: n_head }, (_, row) => layers.map(({ most }, column) => cell(column, row, most[row], column === layer && row === head)))}</div>
    <small class="map-note">${t("map.note")}</small>`;
}

function cell(layer, head, weight, isChosen) {
  const words = t("map.head", { layer, head, weight: percent(weight, 0) });
  return html`<button type="button" data-layer=${layer} data-head=${head} aria-pressed=${isChosen} tabindex=${isChosen ? 0 : -1}
  aria-label=${words} title=${words}
    .style=${`background: rgb(${[...paint(weight, "share", { low: 0, high: 1 })].join(" ")})`} @click=${() => go({ layer, head }, { replace: true })}></button>`;
}

const walk = (event) => walkHeads(event, { ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] });

/** Arrow keys go to another head; `moves` are by so many layers and heads. */
export function walkHeads(event, moves) {
  if (!(event.key in moves)) return;
  event.preventDefault();
  const { n_layer, n_head } = model.value.config;
  const { layer, head } = chosen.value;
  const within = (value, end) => Math.max(0, Math.min(end - 1, value));
  const next = { layer: within(layer + moves[event.key][0], n_layer), head: within(head + moves[event.key][1], n_head) };
  go(next, { replace: true });
  event.currentTarget.querySelector(`[data-layer="${next.layer}"][data-head="${next.head}"]`).focus();
}
