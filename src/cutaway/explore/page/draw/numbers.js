// Numbers as they are printed.

import { html } from "../vendor/lit-html.js";

export * from "./cells.js";

/** How far two numbers are apart, where they should be one. */
export const apart = (value) => (value === 0 ? "0" : value.toExponential(1));

/** A printed number that carries its tensor and index. */
export const numeral = (text, tensor, index) =>
  html`<span class="number" data-tensor=${tensor} data-index=${index.join(",")}>${text}</span>`;
