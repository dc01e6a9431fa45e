// <number-strip>: a vector as a thin strip of colours, without furniture; the number under the pointer is told to whom it
// concerns. <read-out> is such a line.

import { html, render } from "../vendor/lit-html.js";
import { indexOf } from "../lib/cells.js";
import { paintAll } from "../lib/colours.js";
import { exact } from "../lib/format.js";
import { numeral } from "./numeral.js";

class NumberStrip extends HTMLElement {
  #options = null;

  /** {cells, ends: {low, high}, width, fade}: cells of one row, the domain of the colours, pixels, and an opacity. */
  set options(options) {
    const before = this.#options;
    this.#options = options;
    if (before && before.cells.values === options.cells.values && before.ends.high === options.ends.high && before.width === options.width && before.scheme === scheme()) return;
    this.#options.scheme = scheme();
    this.#draw();
  }

  connectedCallback() {
    this.addEventListener("pointermove", this.#point);
  }

  #draw() {
    const { cells, ends, width } = this.#options;
    const canvas = document.createElement("canvas");
    canvas.width = cells.columns;
    canvas.height = 1;
    canvas.style.width = `${width}px`;
    canvas.getContext("2d").putImageData(new ImageData(paintAll(cells.values, "signed", ends), cells.columns, 1), 0, 0);
    this.replaceChildren(canvas);
  }

  #point = (event) => {
    const { cells, width } = this.#options;
    const column = Math.max(0, Math.min(cells.columns - 1, Math.floor((event.offsetX * cells.columns) / width)));
    const detail = { tensor: cells.tensor, index: indexOf(cells, 0, column), value: cells.values[column] };
    this.dispatchEvent(new CustomEvent("cell", { detail, bubbles: true }));
  };
}

const scheme = () => matchMedia("(prefers-color-scheme: dark)").matches;

class ReadOut extends HTMLElement {
  show({ tensor, index, value }) {
    render(html`<code>${tensor}[${index.join(", ")}]</code> = ${numeral(exact(value), tensor, index)}`, this);
  }
}

customElements.define("number-strip", NumberStrip);
customElements.define("read-out", ReadOut);

/** A strip of one row of cells; `name` is said to those who cannot see it. */
export const strip = (cells, ends, width, name) => html`<number-strip role="img" aria-label=${name} .options=${{ cells, ends, width }}></number-strip>`;

/** Everything in `inside`, and a line below that tells the number under the pointer. */
export const withReadout = (inside, hint) => html`<div @cell=${(event) => event.currentTarget.querySelector("read-out").show(event.detail)}>${inside}
  <read-out class="readout">${hint}</read-out></div>`;
