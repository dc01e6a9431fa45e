// Small pieces that many views have.

import { html, nothing, svg } from "../vendor/lit-html.js";
import { colour } from "../lib/colours.js";
import { say, t } from "../state/i18n.js";
import { failure } from "../state/session.js";

/** In place of what is not there yet. */
export const waiting = () => html`<p class="note">${t(failure.value ? "absent" : "loading")}</p>`;

/** What may be wider than the page: it scrolls by itself, with the keyboard too. */
export const scrolling = (name, inside) => html`<div class="scroll" tabindex="0" role="region" aria-label=${name}>${inside}</div>`;

/** A bar for a part of a whole; the number itself is printed beside it. */
export const meter = (value, whole = 1) => html`<meter min="0" max="1" value=${value / whole || 0} aria-hidden="true"></meter>`;

/** A bar to the right for what is above 0, to the left for what is below. */
export const signedBar = (value, largest) => html`<svg class="signed" viewBox="-100 0 200 10" preserveAspectRatio="none" aria-hidden="true">${svg`<rect
  class=${value < 0 ? "minus" : "plus"} x=${Math.min(0, (100 * value) / largest)} y="1" width=${Math.abs((100 * value) / largest)} height="8"></rect>
  <path d="M0 0V10"></path>`}</svg>`;

/** A square in a colour of the article's. */
export const swatch = (name) => html`<svg class="swatch" viewBox="0 0 10 10" aria-hidden="true">${svg`<rect width="10" height="10"
  fill=${colour(name)} stroke=${colour(name)}></rect>`}</svg>`;

/** Whether what a figure claims holds, {ok, statement}; nothing for a figure that claims nothing. */
export function claim(check) {
  if (!check) return nothing;
  return html`<p class="check ${check.ok ? "holds" : "fails"}"><b>${t(check.ok ? "check.holds" : "check.fails")}</b> ${say(check.statement)}</p>`;
}
