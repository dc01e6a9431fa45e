// <number-strip>: a vector as a thin strip of colours, without furniture; the number under the pointer is told to whom it
// concerns. <read-out> is such a line.

import { html, render } from "../vendor/lit-html.js";
import { indexOf } from "../lib/cells.js";
import { paintAll } from "../lib/colours.js";
import { exact } from "../lib/format.js";
import { isDark } from "../state/theme.js";
import { numeral } from "./numeral.js";

class NumberStrip extends HTMLElement {
  #options = null;

  /** {cells, ends: {low, high}, width, isUpright}: cells of one row or column, the domain of the colours, pixels along it. */
  set options(options) {
    const before = this.#options;
    this.#options = options;
    const { values } = options.cells;
    if (before?.cells.values.length === values.length && values.every((value, i) => value === before.cells.values[i]) && before.ends.high === options.ends.high && before.width === options.width && before.isDark === isDark()) return;
    this.#options.isDark = isDark();
    this.#draw();
  }

  connectedCallback() {
    this.addEventListener("pointermove", this.#point);
  }

  #draw() {
    const { cells, ends, width, isUpright } = this.#options;
    const canvas = document.createElement("canvas");
    const count = cells.values.length;
    canvas.width = isUpright ? 1 : count;
    canvas.height = isUpright ? count : 1;
    canvas.style[isUpright ? "height" : "width"] = `${width}px`;
    canvas.getContext("2d").putImageData(new ImageData(paintAll(cells, "signed", ends), canvas.width, canvas.height), 0, 0);
    this.replaceChildren(canvas);
  }

  #point = (event) => {
    const { cells, width, isUpright } = this.#options;
    const count = cells.values.length;
    const at = Math.max(0, Math.min(count - 1, Math.floor(((isUpright ? event.offsetY : event.offsetX) * count) / width)));
    const detail = { tensor: cells.tensor, index: indexOf(cells, Math.floor(at / cells.columns), at % cells.columns), value: cells.values[at] };
    this.dispatchEvent(new CustomEvent("cell", { detail, bubbles: true }));
  };
}

class ReadOut extends HTMLElement {
  show({ tensor, index, value }) {
    render(html`<code>${tensor}[${index.join(", ")}]</code> = ${numeral(exact(value), tensor, index)}`, this);
  }
}

customElements.define("number-strip", NumberStrip);
customElements.define("read-out", ReadOut);

/** A strip of one row of cells; `name` is said to those who cannot see it. */
export const strip = (cells, ends, width, name) => html`<number-strip role="img" aria-label=${name} .options=${{ cells, ends, width }}></number-strip>`;

/** The same from top to bottom. */
export const uprightStrip = (cells, ends, width, name) => html`<number-strip class="upright" role="img" aria-label=${name} .options=${{ cells, ends, width, isUpright: true }}></number-strip>`;

/** Everything in `inside`, and a line below that tells the number under the pointer. */
export const withReadout = (inside, hint) => html`<div @cell=${(event) => event.currentTarget.querySelector("read-out").show(event.detail)}>${inside}
  <read-out class="readout">${hint}</read-out></div>`;
