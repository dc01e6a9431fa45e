// <cell-grid>: a matrix as coloured cells on a canvas.
//
// Arrow keys, Home, End and the Page keys move a cursor; a line under the picture shows its number in full,
// with its tensor and index. Buttons show the numbers as a table and save them. Strips in one scale share that line and
// one legend.

import { html, nothing, render } from "../vendor/lit-html.js";
import { computed, effect } from "../vendor/signals-core.js";
import { commonLimit, firstLater, indexOf, partOf, valueAt } from "../lib/cells.js";
import { extent, isLight, kindOf, paint, paintAll, range } from "../lib/colours.js";
import { exact, short } from "../lib/format.js";
import { writeTensor } from "../lib/safetensors.js";
import { language, t } from "../state/i18n.js";
import { goMore, state } from "../state/navigation.js";
import { isDark } from "../state/theme.js";
import { download } from "./download.js";
import { numeral } from "./numeral.js";
import { SvgInk } from "./svg-file.js";
import { scrolling, swatch, waiting } from "./widgets.js";

const NUMBERED = 44; // pixels: minimum width of a cell for its number
const LINED = 6; // pixels: minimum width of a cell for a border
const MOST_IN_TABLE = 1200; // numbers; of larger matrices, the table shows those around the cursor
const MOST_NAME = 34; // characters of a tensor's name beside a title
const AROUND = 4; // rows and columns on each side of the cursor
const LABELS = [[4, 40], [8, 72], [Infinity, 104]]; // [characters of the longest row label, pixels]
const LINE = 18; // pixels per line of labels
const TICKS = [["0", 0], ["5", 22.4], ["25", 50], ["100 %", 100]]; // of shares, whose colours go by the square root: [text, per cent]

const opened = computed(() => state.value.more.table); // names of the grids that are shown as tables, too
const namesOf = (text) => text?.split("|") ?? [];

class CellGrid extends HTMLElement {
  #cursor = { row: 0, column: 0 };
  #isRead = false; // whether a cell has been pointed at
  #options = null;
  #picture = null; // {values, scale, columns, canvas, ends, extent}, cached while the options are the same
  #stop = null;
  #watch = new ResizeObserver(() => this.#paint());

  /** {title, aside, cells, scale, limit, rowLabels, columnLabels, rowAxis, columnAxis, height, cursor, pick(row, column)} */
  set options(options) {
    const moved = options.cursor && String(options.cursor) !== String(this.#options?.cursor);
    this.#options = options;
    if (moved) this.#cursor = { row: options.cursor[0], column: options.cursor[1] };
    this.#cursor.row = Math.min(this.#cursor.row, Math.max(0, options.cells.rows - 1));
    this.#cursor.column = Math.min(this.#cursor.column, Math.max(0, options.cells.columns - 1));
    if (this.isConnected) this.#draw();
  }

  connectedCallback() {
    this.#watch.observe(this);
    this.#stop = effect(() => { language.value; opened.value; isDark(); if (this.#options) this.#draw(); });
  }

  disconnectedCallback() {
    this.#watch.disconnect();
    this.#stop?.();
  }

  #draw() {
    const { cells, title } = this.#options;
    const kind = kindOf(cells.tensor);
    const group = this.closest(".strips");
    render(html`
      <figure @toggle=${this.#toggled}>
        <figcaption><span>${kind ? swatch(kind) : nothing} ${title} ${cells.tensor.length <= MOST_NAME ? html`<code>${cells.tensor}</code>` : nothing}</span>${this.#options.aside ?? nothing}${this.#tools()}</figcaption>
        <canvas tabindex="0" role="img" aria-label=${this.#sentence()} aria-roledescription=${t("grid.role")}
          data-tensor=${cells.tensor} data-shape=${cells.shape.join(",")} data-offset=${cells.offset}
          data-steps=${cells.steps.join(",")} data-rows=${cells.rows} data-columns=${cells.columns} data-limit=${this.#options.limit ?? nothing}
          @keydown=${this.#key} @pointermove=${this.#point} @click=${this.#pick}></canvas>
        ${group ? nothing : html`<div class="under">${this.#under()}</div>`}
        ${this.#isTable() ? scrolling(t("table"), this.#table()) : nothing}
      </figure>`, this);
    if (group && readerOf(group) === this) render(this.#under(), group.querySelector(":scope > .under"));
    this.#paint();
  }

  #under() {
    return html`${this.#legend()}<p class="readout" aria-live="polite">${this.#isRead ? this.#readout() : nothing}</p>`;
  }

  #tools() {
    const { title, cells } = this.#options;
    const switches = [["table", this.#isTable(), this.#toggle], ["enlarge", this.#isLarge(), this.#enlarge]].slice(0, cells.rows);
    return html`<div class="tools">
      ${switches.map(([name, isOn, press]) => html`<button type="button" class="quiet" aria-label=${t("of.grid", { what: t(name), title })} aria-pressed=${isOn} @click=${press}>${t(name)}</button>`)}
      <details aria-label=${t("of.grid", { what: t("save"), title })}><summary aria-label=${t("of.grid", { what: t("save"), title })}>${t("save")}</summary>
        <button type="button" class="quiet" @click=${this.#saveNumbers}>CSV</button>
        <button type="button" class="quiet" @click=${this.#savePicture}>PNG</button>
        <button type="button" class="quiet" @click=${this.#saveDrawing}>SVG</button>
        <button type="button" class="quiet" @click=${this.#saveTensor}>safetensors</button></details></div>`;
  }

  #sentence() {
    const { cells, title, scale } = this.#options;
    const { low, high } = this.#painted().extent;
    return t("grid.sentence", { title, rows: cells.rows, columns: cells.columns, low: short(low, scale), high: short(high, scale) });
  }

  #readout() {
    const { cells, rowLabels, columnLabels, rowAxis, columnAxis } = this.#options;
    const { row, column } = this.#cursor;
    if (!cells.values.length) return nothing;
    const value = valueAt(cells, row, column);
    const index = indexOf(cells, row, column);
    const place = (labels, axis, i) => (labels?.length ? `${axis ? `${axis} ` : ""}${labels[i]}${t("sep.comma")}` : "");
    return html`${place(rowLabels, rowAxis, row)}${place(columnLabels, columnAxis, column)}
      <code>${cells.tensor}[${index.join(", ")}]</code> =
      ${numeral(exact(value), cells.tensor, index)}`;
  }

  #legend() {
    const { scale, limit } = this.#options;
    const { low, high } = this.#painted().ends;
    if (scale === "share") return html`<span class="legend share"><i aria-hidden="true"></i>${TICKS.map(([text, at]) => html`<small class="tick" .style=${`left: ${at}%`}>${text}</small>`)}</span>`;
    return html`<span class="legend ${scale}"><span>${limit ? "≤ " : ""}${short(low, scale)}</span><i aria-hidden="true"></i><span>${limit ? "≥ " : ""}${short(high, scale)}</span></span>`;
  }

  // Labels are on the left and above.
  #measure() {
    const { cells, rowLabels, columnLabels, height } = this.#options;
    const left = rowLabels?.length ? roomFor(rowLabels) : 0;
    const top = columnLabels?.length ? LINE : 0;
    const isLarge = this.#isLarge();
    const room = Math.max(60, this.querySelector("figure").clientWidth - left - 2);
    const across = Math.min(isLarge ? room : 64, room / cells.columns);
    const wanted = height ?? (cells.rows === 1 ? 22 : Math.min(across, isLarge ? (innerHeight - 180) / cells.rows : 24));
    const down = Math.max(wanted, Math.min(1, 480 / cells.rows), rowLabels?.length && cells.rows < 40 ? 13 : 0);
    return { left, top, across, down, width: left + across * cells.columns, height: top + down * cells.rows };
  }

  #paint() {
    const canvas = this.querySelector("canvas");
    if (!canvas || !this.#options || !this.clientWidth) return;
    const layout = this.#measure();
    const { width, height } = layout;
    const ratio = devicePixelRatio || 1;
    canvas.width = Math.ceil(width * ratio);
    canvas.height = Math.ceil(height * ratio);
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
    const ink = canvas.getContext("2d");
    ink.scale(ratio, ratio);
    ink.imageSmoothingEnabled = false;
    this.#drawWith(ink, layout);
  }

  #drawWith(ink, layout) {
    const { cells } = this.#options;
    const { left, top, across, down } = layout;
    if (cells.values.length) ink.drawImage(this.#painted().canvas, left, top, across * cells.columns, down * cells.rows);
    this.#write(ink, layout);
    this.#frame(ink, layout);
  }

  /** A canvas with one pixel per cell, the domain of its scale, and the extent of its numbers. */
  #painted() {
    const { cells, scale, limit } = this.#options;
    const { values } = cells;
    const last = this.#picture;
    if (last?.values === values && last.scale === scale && last.columns === cells.columns && last.isDark === isDark() && last.limit === limit) return last;
    const ends = limit ? { low: -limit, high: limit } : range(values, scale);
    const canvas = new OffscreenCanvas(Math.max(1, cells.columns), Math.max(1, cells.rows));
    if (values.length) canvas.getContext("2d").putImageData(new ImageData(paintAll(cells, scale, ends), cells.columns, cells.rows), 0, 0);
    this.#picture = { values, scale, limit, isDark: isDark(), columns: cells.columns, canvas, ends, extent: extent(values) };
    return this.#picture;
  }

  /** Whether a causal mask leaves no weight there. */
  #isMasked(i) {
    const { cells } = this.#options;
    return cells.values[i] === 0 && i % cells.columns >= firstLater(cells, Math.floor(i / cells.columns));
  }

  #write(ink, { left, top, across, down }) {
    const { cells, scale, rowLabels, columnLabels } = this.#options;
    const style = getComputedStyle(this);
    ink.font = "12px ui-monospace, Menlo, Consolas, monospace";
    ink.textBaseline = "middle";
    ink.fillStyle = style.color;
    if (rowLabels?.length) {
      ink.textAlign = "right";
      const every = Math.max(1, Math.ceil(13 / down));
      for (let row = 0; row < cells.rows; row += every) ink.fillText(cut(rowLabels[row], 13), left - 6, top + (row + 0.5) * down);
    }
    ink.textAlign = "center";
    if (columnLabels?.length) {
      const every = Math.max(1, Math.ceil(30 / across));
      const room = Math.floor((across * every) / 7.4);
      const right = left + across * cells.columns;
      for (let column = 0; column < cells.columns; column += every) { // centred above its column, within the picture
        const label = cut(columnLabels[column], room);
        const half = ink.measureText(label).width / 2;
        ink.fillText(label, Math.max(half, Math.min(right - half, left + (column + 0.5) * across)), LINE / 2);
      }
    }
    if (across < NUMBERED || down < 14) return;
    const { ends } = this.#painted();
    for (let i = 0; i < cells.values.length; i++) {
      const row = Math.floor(i / cells.columns);
      const column = i % cells.columns;
      if (this.#isMasked(i)) continue;
      ink.fillStyle = isLight(paint(cells.values[i], scale, ends)) ? "#1f2430" : "#fff";
      ink.fillText(short(cells.values[i], scale), left + (column + 0.5) * across, top + (row + 0.5) * down);
    }
  }

  #frame(ink, { left, top, across, down }) {
    if (across >= LINED && down >= LINED) {
      ink.strokeStyle = "rgb(128 128 128 / 0.25)";
      const { cells } = this.#options;
      for (let column = 0; column <= cells.columns; column++) line(ink, left + column * across, top, 0, down * cells.rows);
      for (let row = 0; row <= cells.rows; row++) line(ink, left, top + row * down, across * cells.columns, 0);
    }
    ink.strokeStyle = getComputedStyle(this).getPropertyValue("--accent") || "#4b5bd7";
    ink.lineWidth = 2;
    if (!this.#isRead && !this.#options.cursor) return;
    const { row, column } = this.#cursor;
    ink.strokeRect(left + column * across, top + row * down, Math.max(across, 3), Math.max(down, 3));
  }

  #move(row, column) {
    const { cells } = this.#options;
    this.#isRead = true;
    const group = this.closest(".strips");
    if (group) readers.set(group, this);
    this.#cursor = { row: clamp(row, cells.rows), column: clamp(column, cells.columns) };
    this.#draw();
  }

  #key = (event) => {
    const { row, column } = this.#cursor;
    const { cells } = this.#options;
    const moves = {
      ArrowUp: [row - 1, column], ArrowDown: [row + 1, column], ArrowLeft: [row, column - 1], ArrowRight: [row, column + 1],
      Home: [row, 0], End: [row, cells.columns - 1], PageUp: [row - 10, column], PageDown: [row + 10, column],
    };
    if (event.key in moves) this.#move(...moves[event.key]);
    else if (event.key === "Enter") this.#options.pick?.(row, column);
    else return;
    event.preventDefault();
  };

  #at(event) {
    const { left, top, across, down } = this.#measure();
    return [Math.floor((event.offsetY - top) / down), Math.floor((event.offsetX - left) / across)];
  }

  #has(row, column) {
    const { rows, columns } = this.#options.cells;
    return row >= 0 && column >= 0 && row < rows && column < columns;
  }

  #point = (event) => {
    const [row, column] = this.#at(event);
    if (this.#has(row, column) && (row !== this.#cursor.row || column !== this.#cursor.column)) this.#move(row, column);
  };

  #pick = (event) => {
    const [row, column] = this.#at(event);
    if (!this.#has(row, column)) return;
    this.#move(row, column);
    this.#options.pick?.(row, column);
  };

  /** What a link calls the grid, in every layer: its tensor, or its place in a figure. */
  #name() {
    const figure = this.closest(".figure");
    return figure ? `${figure.dataset.figure}.${[...figure.querySelectorAll("cell-grid")].indexOf(this)}` : this.#options.cells.tensor.replace(/\.\d+/g, "");
  }

  #isTable = () => namesOf(opened.value).includes(this.#name());

  #toggle = () => {
    const names = new Set(namesOf(opened.value));
    if (!names.delete(this.#name())) names.add(this.#name());
    goMore({ table: [...names].join("|") || null });
  };

  #isLarge = () => this.querySelector("figure")?.popover === "auto";

  /** Show the figure as large as the window, or put it back; its place on the page stays free. */
  #enlarge = () => {
    const figure = this.querySelector("figure");
    this.style.minHeight = `${this.offsetHeight}px`;
    figure.popover = "auto";
    figure.togglePopover();
  };

  #toggled = ({ newState, target }) => {
    if (newState === "closed") target.popover = this.style.minHeight = null;
    this.#draw();
  };

  #table() {
    const { cells, rowLabels, columnLabels } = this.#options;
    const { row, column } = this.#cursor;
    const all = cells.values.length <= MOST_IN_TABLE;
    const rows = all ? span(0, cells.rows) : span(Math.max(0, row - AROUND), Math.min(cells.rows, row + AROUND + 1));
    const columns = all ? span(0, cells.columns) : span(Math.max(0, column - AROUND), Math.min(cells.columns, column + AROUND + 1));
    const name = (labels, i) => labels?.[i] ?? i;
    return html`
      <table aria-label=${this.#options.title}>
        <thead><tr><td></td>${columns.map((c) => html`<th scope="col">${name(columnLabels, c)}</th>`)}</tr></thead>
        <tbody>${rows.map((r) => html`<tr><th scope="row">${name(rowLabels, r)}</th>
          ${columns.map((c) => html`<td>${numeral(exact(valueAt(cells, r, c)), cells.tensor, indexOf(cells, r, c))}</td>`)}</tr>`)}</tbody>
      </table>`;
  }

  #saveNumbers = () => {
    const { cells, rowLabels, columnLabels } = this.#options;
    const lines = span(0, cells.rows).map((row) => [
      ...(rowLabels?.length ? [quoted(rowLabels[row])] : []), ...cells.values.subarray(row * cells.columns, (row + 1) * cells.columns),
    ].join(","));
    if (columnLabels?.length) lines.unshift([...(rowLabels?.length ? [""] : []), ...columnLabels.map(quoted)].join(","));
    download(`${partOf(cells)}.csv`, new Blob([lines.join("\n") + "\n"], { type: "text/csv" }));
  };

  #saveTensor = () => {
    const { cells } = this.#options;
    const { tensor, shape, offset, steps } = cells;
    const words = { tensor, shape: shape.join(","), offset: String(offset), steps: steps.join(",") };
    const values = Float32Array.from(cells.values); // values may be a view of a larger array
    download(`${partOf(cells)}.safetensors`, new Blob([writeTensor(tensor, { shape: [cells.rows, cells.columns], values }, words)]));
  };

  #saveDrawing = () => {
    const layout = this.#measure();
    const ink = new SvgInk(layout.width, layout.height);
    this.#drawWith(ink, layout);
    const { cells } = this.#options;
    const { tensor, shape, offset, steps } = cells;
    ink.save(partOf(cells), { tensor, shape, offset, steps });
  };

  #savePicture = () => {
    this.querySelector("canvas").toBlob((blob) => download(`${partOf(this.#options.cells)}.png`, blob));
  };
}

const readers = new WeakMap(); // group of strips -> the one that was read last

/** The strip that tells its number below the group: the last one that was pointed at, or the first. */
function readerOf(group) {
  const last = readers.get(group);
  return last?.isConnected ? last : group.querySelector("cell-grid");
}

const roomFor = (labels) => LABELS.find(([characters]) => labels.every((label) => label.length <= characters))[1];
const quoted = (label) => `"${label.replaceAll('"', '""')}"`;

const clamp = (value, count) => Math.max(0, Math.min(count - 1, value));
const span = (from, to) => Array.from({ length: to - from }, (_, i) => from + i);
const cut = (label, room) => (label.length <= room ? label : room < 2 ? "" : `${label.slice(0, room - 1)}…`);

function line(ink, x, y, across, down) {
  ink.beginPath();
  ink.moveTo(x, y);
  ink.lineTo(x + across, y + down);
  ink.stroke();
}

customElements.define("cell-grid", CellGrid);

/** A grid. */
export const grid = (options) => html`<cell-grid .options=${options}></cell-grid>`;

/** A grid of signed numbers, or a placeholder until they arrive. */
export const signedGrid = (title, cells, more = {}) => (cells ? grid({ title, cells, scale: "signed", ...more }) : waiting());

/**
 * Strips in one scale, with one legend and one line that tells a number below them: {title, cells, aside, before}, where `aside`
 * stands beside the title, and `before` above it. A placeholder until all have arrived.
 */
export function strips(rows) {
  if (!rows.every(({ cells }) => cells)) return waiting();
  const limit = commonLimit(...rows.map(({ cells }) => cells));
  return html`<div class="strips">${rows.map(({ before, ...row }) => html`${before ?? nothing}${grid({ ...row, scale: "signed", limit })}`)}<div class="under"></div></div>`;
}
