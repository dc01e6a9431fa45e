// Numbers as they are printed.

import { html } from "../vendor/lit-html.js";

/** A printed number that carries its tensor and index. */
export const numeral = (text, tensor, index) =>
  html`<span class="number" data-tensor=${tensor} data-index=${index.join(",")}>${text}</span>`;
