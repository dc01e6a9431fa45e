// Small pieces that many views have.

import { html, nothing } from "../vendor/lit-html.js";
import { say, t } from "../app/i18n.js";

/** In place of what is not there yet. */
export const waiting = () => html`<p>${t("loading")}</p>`;

/** What may be wider than the page: it scrolls by itself, with the keyboard too. */
export const scrolling = (name, inside) => html`<div class="scroll" tabindex="0" role="region" aria-label=${name}>${inside}</div>`;

/** A bar for a part of a whole; the number itself is printed beside it. */
export const meter = (value, whole = 1) => html`<meter min="0" max="1" value=${value / whole || 0} aria-hidden="true"></meter>`;

/** Whether what a figure claims holds, {ok, statement}; nothing for a figure that claims nothing. */
export function claim(check) {
  if (!check) return nothing;
  return html`<p class="check ${check.ok ? "holds" : "fails"}"><b>${t(check.ok ? "check.holds" : "check.fails")}</b> ${say(check.statement)}</p>`;
}
