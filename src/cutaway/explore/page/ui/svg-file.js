// Export of drawings to standalone SVG files, with their computed styles.

import { html } from "../vendor/lit-html.js";
import { t } from "../state/i18n.js";
import { download } from "./download.js";

const SVG = "http://www.w3.org/2000/svg";
const LOOK = ["fill", "fill-opacity", "stroke", "stroke-width", "opacity", "font-family", "font-size", "font-weight", "text-anchor"];

/** An <svg> of the page with a button that saves it in a file of that name. */
export const picture = (name, title, drawn) => html`<div class="picture">${drawn}
  <div class="tools"><button type="button" class="quiet" aria-label=${t("of.grid", { what: "SVG", title })} @click=${(event) => save(event.currentTarget, name)}>SVG</button></div></div>`;

function save(button, name) {
  const shown = button.closest(".picture").querySelector("svg");
  const copy = shown.cloneNode(true);
  const copies = copy.querySelectorAll("*");
  const { width, height } = shown.getBoundingClientRect();
  const { x, y } = shown.viewBox.baseVal ?? { x: 0, y: 0 };
  shown.querySelectorAll("*").forEach((mark, i) => {
    const style = getComputedStyle(mark);
    for (const property of LOOK) copies[i].setAttribute(property, style.getPropertyValue(property));
  });
  for (const [property, value] of Object.entries({ width, height })) copy.setAttribute(property, value);
  copy.prepend(element("rect", { x, y, width: "100%", height: "100%", fill: paper() }));
  offer(copy, name);
}

/** The subset of CanvasRenderingContext2D that grids draw with, recorded as SVG. */
export class SvgInk {
  #path = "";

  constructor(width, height) {
    this.root = element("svg", { width, height });
    this.root.append(element("rect", { width: "100%", height: "100%", fill: paper() }));
  }

  #mark(name, attributes) {
    return this.root.appendChild(element(name, attributes));
  }

  drawImage(image, x, y, width, height) {
    const canvas = Object.assign(document.createElement("canvas"), { width: image.width, height: image.height });
    canvas.getContext("2d").drawImage(image, 0, 0);
    const look = { preserveAspectRatio: "none", "image-rendering": "pixelated", href: canvas.toDataURL() };
    this.#mark("image", { x, y, width, height, ...look });
  }

  fillText(text, x, y) {
    const anchor = { left: "start", center: "middle", right: "end" }[this.textAlign];
    const [, size, family] = /^(\d+px) (.*)$/.exec(this.font);
    const look = { fill: this.fillStyle, "text-anchor": anchor, "dominant-baseline": "central", "font-size": size, "font-family": family };
    this.#mark("text", { x, y, ...look }).textContent = text;
  }

  measureText(text) {
    const ink = new OffscreenCanvas(1, 1).getContext("2d");
    ink.font = this.font;
    return ink.measureText(text);
  }

  beginPath() {
    this.#path = "";
  }

  moveTo(x, y) {
    this.#path += `M${x} ${y}`;
  }

  lineTo(x, y) {
    this.#path += `L${x} ${y}`;
  }

  stroke() {
    this.#mark("path", { d: this.#path, stroke: this.strokeStyle, "stroke-width": this.lineWidth ?? 1 });
  }

  strokeRect(x, y, width, height) {
    this.#mark("rect", { x, y, width, height, fill: "none", stroke: this.strokeStyle, "stroke-width": this.lineWidth ?? 1 });
  }

  /** Download the file; `origin` becomes its data-* attributes. */
  save(name, origin) {
    Object.assign(this.root.querySelector("image")?.dataset ?? {}, origin);
    offer(this.root, name);
  }
}

const paper = () => getComputedStyle(document.body).backgroundColor;

function element(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [attribute, value] of Object.entries(attributes)) made.setAttribute(attribute, value);
  return made;
}

function offer(root, name) {
  const text = new XMLSerializer().serializeToString(root).replace(/<!--.*?-->/gs, ""); // lit-html's markers
  download(`${name}.svg`, new Blob([text], { type: "image/svg+xml" }));
}
