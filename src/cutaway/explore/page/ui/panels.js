// Renderers of the panels of figures, from the documents that Python sends.

import { html, nothing, svg } from "../vendor/lit-html.js";
import { cellsFromDocument, indexOf, partOf } from "../lib/cells.js";
import { colour } from "../lib/colours.js";
import { cut, format, percent, short } from "../lib/format.js";
import { say, t } from "../state/i18n.js";
import { grid } from "./cell-grid.js";
import { numeral } from "./numeral.js";
import { headStrips, pianoRoll } from "./piano-roll.js";
import { picture } from "./svg-file.js";
import { meter, room, scrolling, signedBar, viewport } from "./widgets.js";

const CHARACTER = 7.9; // pixels per column of a drawing; the widest monospace fonts have 7.83
const LINE = 20; // pixels per row

/** Render a panel's document. */
export function panel(document) {
  return DRAW[document.kind](document);
}

const DRAW = {
  note: ({ words }) => html`<p class="note">${say(words)}</p>`,
  grid: (panel) => grid({
    title: say(panel.title), cells: cellsFromDocument(panel.cells), scale: panel.scale, rowLabels: panel.rows,
    columnLabels: panel.columns, rowAxis: say(panel.row_axis), columnAxis: say(panel.column_axis),
  }),
  bars: (panel) => bars({
    title: say(panel.title), labels: panel.labels, cells: cellsFromDocument(panel.cells), scale: panel.scale, marked: panel.marked,
  }),
  arcs: (panel) => arcs({ title: say(panel.title), tokens: panel.tokens, cells: cellsFromDocument(panel.cells), query: panel.query }),
  roll: (panel) => roll(panel),
  table: (panel) => table(say(panel.title), panel.columns.map(say), panel.rows),
  drawing: (panel) => drawing(say(panel.title), panel.shapes),
};

/** A piano roll; with cells, arcs to the notes in `targets`, and how much of each head's weight is on them. */
function roll({ title, notes, seconds, query, targets, cells: document }) {
  if (!document) return pianoRoll({ title: say(title), notes, beside: contents() });
  const cells = cellsFromDocument(document);
  const heads = Array.from({ length: cells.rows }, (_, head) => head);
  const weight = (head, column) => cells.values[head * cells.columns + column];
  const all = heads.flatMap((head) => targets.map((note, column) => ({ head, note, weight: weight(head, column), tensor: cells.tensor, index: indexOf(cells, head, column) })));
  const last = targets.length;
  return html`${pianoRoll({ title: say(title), notes, seconds, query, arcs: all, beside: contents() })}
    ${headStrips(heads.map((head) => ({ head, rest: weight(head, last), tensor: cells.tensor, index: indexOf(cells, head, last) })))}`;
}

/** Width of the list of figures beside one, in pixels. */
const contents = () => (viewport.value < 832 ? 0 : 360);

const place = (cells, i) => [Math.floor(i / cells.columns), i % cells.columns];

/** Bar chart; if some values are negative, their bars go to the left. */
export function bars({ title, labels, cells, scale, marked = [] }) {
  const values = [...cells.values];
  const largest = scale === "share" ? 1 : Math.max(...values.map(Math.abs)) || 1; // so that shares can be compared from list to list
  const bar = values.some((value) => value < 0) ? signedBar : meter;
  return html`<figure><figcaption>${title}</figcaption><ul class="bars">
    ${values.map((value, i) => html`<li class=${marked.includes(i) ? "marked" : ""}>
      <span class="token">${labels[i]}</span>
      ${bar(value, largest)}
      ${numeral(scale === "share" ? percent(value) : short(value, scale), cells.tensor, indexOf(cells, ...place(cells, i)))}
    </li>`)}</ul></figure>`;
}

const MOST_TOKENS = 40; // of longer texts, those with the largest weights

/** Arcs from one token to the others, as thick as their weights. */
export function arcs(panel) {
  const { tokens, cells, query, pick } = panel;
  const weights = cells.values;
  const shown = strongest(weights, query);
  const starts = [0];
  for (const i of shown) starts.push(starts.at(-1) + Math.max(30, wide(tokens[i]) * CHARACTER) + 14);
  if (starts.at(-1) > room()) return slanted(panel, shown);
  const middle = new Map(shown.map((i, place) => [i, (starts[place] + starts[place + 1] - 14) / 2]));
  return over(panel, middle, starts.at(-1), 44, (i, top) => svg`<text text-anchor="middle" x=${middle.get(i)} y=${top + 18} class=${i === query ? "strong" : ""}
        @click=${() => pick?.(i)}>${tokens[i]}</text>
        <text class="quiet number" text-anchor="middle" x=${middle.get(i)} y=${top + 36}
          data-tensor=${cells.tensor} data-index=${indexOf(cells, 0, i).join(",")}>${percent(weights[i], 0)}</text>`);
}

/** The arcs over words that take so many pixels below them. */
function over({ title, cells, query, key }, middle, width, below, word) {
  const shown = [...middle.keys()];
  const top = 12 + 0.75 * Math.max(...shown.map((i) => height(middle.get(i) - middle.get(query))));
  return html`<figure><figcaption>${title}</figcaption>${shown.length < cells.values.length ? partly(cells, shown) : nothing}
    ${picture(partOf(cells), title, scrolling(title, html`<svg class="arcs" width=${width} height=${top + below} role="img" aria-label=${title}>
      ${shown.map((i) => (i === query ? nothing : arc(cells, i, middle.get(query), middle.get(i), top, i === key)))}
      ${shown.map((i) => word(i, top))}
    </svg>`))}</figure>`;
}

const ASLANT = 8; // characters of a token there
const SLOPE = 84; // pixels below for words that stand aslant
const LEFT = 62; // pixels for the first of them, which ends below its token

/** The same where the words do not fit side by side: they stand aslant, each with its weight. */
function slanted(panel, shown) {
  const { tokens, cells, query, pick } = panel;
  const step = Math.max(15, Math.min(44, (room() - LEFT) / shown.length));
  const middle = new Map(shown.map((i, place) => [i, LEFT + step * place]));
  return over(panel, middle, LEFT + step * shown.length, SLOPE + 14, (i, top) => svg`<text text-anchor="end" transform="translate(${middle.get(i) + 5} ${top + 14}) rotate(-58)" class=${i === query ? "strong" : ""}
        @click=${() => pick?.(i)}>${cut(tokens[i], ASLANT)} <tspan class="quiet number" data-tensor=${cells.tensor} data-index=${indexOf(cells, 0, i).join(",")}>${percent(cells.values[i], 0)}</tspan></text>`);
}

/** Positions of the largest weights and of the query, in the order of the text. */
function strongest(weights, query) {
  const places = Array.from(weights, (_, i) => i);
  if (places.length <= MOST_TOKENS) return places;
  const others = places.filter((i) => i !== query).sort((a, b) => weights[b] - weights[a]);
  return [query, ...others.slice(0, MOST_TOKENS - 1)].sort((a, b) => a - b);
}

/** "40 of 1,024 tokens, 93 % of the weight" */
function partly(cells, shown) {
  const share = shown.reduce((sum, i) => sum + cells.values[i], 0);
  return html`<p class="note">${t("arcs.partly", { n: shown.length, all: cells.values.length })}
    ${numeral(percent(share), `sum(${cells.tensor}[${indexOf(cells, 0, 0).slice(0, -1)},:])`, [])}</p>`;
}

const height = (distance) => Math.min(0.4 * Math.abs(distance), 160);

function arc(cells, i, from, to, top, isLit) {
  const weight = cells.values[i];
  const lift = top - height(from - to); // the curve rises to 3/4 of it
  return svg`<path class=${isLit ? "lit" : nothing} d="M${from} ${top}C${from} ${lift} ${to} ${lift} ${to} ${top}" fill="none" stroke=${colour("score")}
    stroke-width=${0.3 + 9 * weight} opacity=${0.2 + 0.8 * Math.sqrt(weight)}
    data-tensor=${cells.tensor} data-index=${indexOf(cells, 0, i).join(",")}></path>`;
}

/** Table of words and numbers; a number is {value, tensor, index, form}. */
export function table(title, columns, rows) {
  const isNumber = (i) => rows.some((row) => isEntry(row[i]));
  return html`<figure><figcaption>${title}</figcaption>${scrolling(title, html`<table aria-label=${title}>
    <thead><tr>${columns.map((name, i) => html`<th scope="col" class=${isNumber(i) ? "right" : nothing}>${name}</th>`)}</tr></thead>
    <tbody>${rows.map((row) => html`<tr>${row.map(entry)}</tr>`)}</tbody></table>`)}</figure>`;
}

const isEntry = (cell) => cell !== null && typeof cell === "object" && "value" in cell;

function entry(cell) {
  if (!isEntry(cell)) return html`<td>${say(cell)}</td>`;
  return html`<td class="right">${numeral(format(cell.value, cell.form), cell.tensor, cell.index)}</td>`;
}

/** Diagram of boxes, lines and labels on a grid of characters. */
export function drawing(title, shapes) {
  const ends = shapes.map((shape) => END[shape.kind](shape));
  const [right, bottom] = [0, 1].map((axis) => Math.max(...ends.map((end) => end[axis])));
  return html`<figure><figcaption>${title}</figcaption>${picture(title, title, scrolling(title, html`
    <svg class="drawing" width=${right * CHARACTER + 4} height=${bottom * LINE + 4} role="img" aria-label=${title}>
    ${shapes.map((shape) => SHAPES[shape.kind](shape))}</svg>`))}</figure>`;
}

/** Right and bottom edge of a shape. */
const END = {
  box: ({ x, y, width, height }) => [x + width, y + height],
  line: ({ x, y, to_x, to_y }) => [Math.max(x, to_x) + 1, Math.max(y, to_y) + 1],
  label: ({ x, y, text }) => [x + wide(say(text)), y + 1],
};

const wide = (text) => [...text].reduce((sum, char) => sum + (char.codePointAt(0) > 0x2e7f ? 2 : 1), 0);

const SHAPES = {
  box: ({ x, y, width, height, text, colour: name }) => svg`
    <rect x=${x * CHARACTER + 1} y=${y * LINE + 1} width=${width * CHARACTER} height=${height * LINE} rx="5"
      fill=${colour(name)} fill-opacity="0.16" stroke=${colour(name)}></rect>
    ${isEntry(text) ? svg`<text class="number" data-tensor=${text.tensor} data-index=${text.index.join(",")} x=${(x + width / 2) * CHARACTER} y=${(y + height / 2) * LINE + 5} text-anchor="middle">${format(text.value, text.form)}</text>`
    : svg`<text x=${(x + width / 2) * CHARACTER} y=${(y + height / 2) * LINE + 5} text-anchor="middle">${say(text)}</text>`}`,
  line: ({ x, y, to_x, to_y, arrow }) => svg`
    <path class="frame" d="M${(x + 0.5) * CHARACTER} ${(y + 0.5) * LINE}L${(to_x + 0.5) * CHARACTER} ${(to_y + 0.5) * LINE}"></path>
    ${arrow ? arrowHead(x, y, to_x, to_y) : nothing}`,
  label: ({ x, y, text }) => svg`<text x=${x * CHARACTER} y=${y * LINE + 15}>${say(text)}</text>`,
};

function arrowHead(x, y, toX, toY) {
  const along = 6 * Math.sign(toX - x);
  const across = 6 * Math.sign(toY - y);
  const tip = `M${(toX + 0.5) * CHARACTER} ${(toY + 0.5) * LINE}`;
  return svg`<path class="frame" d="${tip}l${-along - across / 2} ${-across - along / 2}${tip}l${-along + across / 2} ${-across + along / 2}"></path>`;
}
