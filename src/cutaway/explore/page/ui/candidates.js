// Candidates for the next token as a list.

import { html } from "../vendor/lit-html.js";
import { share } from "../lib/format.js";
import { word } from "../state/candidates.js";
import { numeral } from "./numeral.js";
import { meter } from "./widgets.js";

/** Ranked list of candidates; `probs` names the tensor, `position` the token that they follow. Ids in `marked` stand out. */
export function likelyList(top, probs, position, marked = new Set()) {
  return html`<ol class="bars likely">${top.map(({ id, probability, text }) => html`<li class=${marked.has(id) ? "marked" : ""}>
    <span class="token">${text ?? word(id)}</span>
    ${meter(probability)}
    ${numeral(share(probability), probs, [position, id])}</li>`)}</ol>`;
}
