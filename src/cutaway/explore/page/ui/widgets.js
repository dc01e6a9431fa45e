// Small widgets that views share.

import { html, nothing, svg } from "../vendor/lit-html.js";
import { signal } from "../vendor/signals-core.js";
import { colour } from "../lib/colours.js";
import { say, t } from "../state/i18n.js";
import { failure, lack, model, watched } from "../state/session.js";

const LEAST = 320; // pixels: a window that is hidden, as in a folded cell of a notebook, has hardly any

/** The width of the window. */
export const viewport = signal(Math.max(LEAST, innerWidth));
addEventListener("resize", () => {
  viewport.value = Math.max(LEAST, innerWidth);
  for (const each of document.querySelectorAll(".scroll")) { // or a box that no longer scrolls keeps its fade
    each.style.animation = "none";
    each.offsetWidth;
    each.style.animation = "";
  }
});

/** Width for a drawing, in pixels: beside the menu, the margins and a scrollbar, or all of a phone. */
export const room = () => (viewport.value < 832 ? viewport.value - 32 : Math.min(viewport.value - 192, 1312) - 74);

/** Placeholder for a response that has not arrived. */
export function waiting() {
  if (!failure.value) lack();
  return html`<p class="note waiting">${t(failure.value ? "absent" : "loading")}</p>`;
}

const pictures = new Map(); // name -> the last template that had everything

/** Forget what was kept: of another view, or another file. */
export const forget = () => pictures.clear();

/**
 * What `draw` returns; but the picture before it, marked as busy, until all that it needs has arrived. So nothing on the
 * page is taken away before its successor is there: scroll, focus and buttons stay. Before the first picture there is a
 * placeholder, or, `inParts`, what has arrived.
 */
export function keep(name, draw, { inParts = false } = {}) {
  const { drawn, isWhole } = watched(draw);
  if (isWhole) pictures.set(name, drawn);
  return html`<div class="kept" aria-busy=${isWhole ? "false" : "true"}>${pictures.get(name) ?? (inParts ? drawn : waiting())}</div>`;
}

/** Whether there has been a picture of that name. */
export const isDrawn = (name) => pictures.has(name);

/** Container of content that may be wider than the page; scrolls by keyboard too. */
export const scrolling = (name, inside) => html`<div class="scroll" tabindex="0" role="region" aria-label=${name}>${inside}</div>`;

/** Bar for a fraction; the number itself is printed beside it. */
export const meter = (value, whole = 1) => html`<meter min="0" max="1" value=${value / whole || 0} aria-hidden="true"></meter>`;

/** Bar to the right for a positive value, to the left for a negative one. */
export const signedBar = (value, largest) => html`<svg class="signed" viewBox="-100 0 200 10" preserveAspectRatio="none" aria-hidden="true">${svg`<rect
  class=${value < 0 ? "minus" : "plus"} x=${Math.min(0, (100 * value) / largest)} y="1" width=${Math.abs((100 * value) / largest)} height="8"></rect>
  <path d="M0 0V10"></path>`}</svg>`;

/** Square in one of the article's colours. */
export const swatch = (name) => html`<svg class="swatch" viewBox="0 0 10 10" aria-hidden="true">${svg`<rect width="10" height="10"
  fill=${colour(name)} stroke=${colour(name)}></rect>`}</svg>`;

/** Result of a figure's check, {ok, statement}; nothing for a figure without one. */
export function claim(check) {
  if (!check) return nothing;
  return html`<details class="check ${check.ok ? "holds" : "fails"}" .open=${!check.ok}><summary>${check.ok ? "✓" : "✗"} ${t(check.ok ? "check.holds" : "check.fails")}</summary> ${say(check.statement)}</details>`;
}
