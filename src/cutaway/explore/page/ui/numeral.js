// Printed numbers.

import { minus } from "../lib/format.js";
import { html } from "../vendor/lit-html.js";

/** Printed number with its tensor and index as data attributes. */
export const numeral = (text, tensor, index) =>
  html`<span class="number" data-tensor=${tensor} data-index=${index.join(",")}>${minus(text)}</span>`;
