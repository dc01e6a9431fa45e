// The residual stream of all tokens at all layers: norms, updates and the logit lens.

import { html, nothing } from "../vendor/lit-html.js";
import { t } from "../state/i18n.js";
import { go, goMore, state } from "../state/navigation.js";
import { askTrace, chosen, hasVectors, ids, labels, lens, lensTokens, live, model, tensor, trace, transport } from "../state/session.js";
import { rowCells } from "../state/slices.js";
import { likelyList } from "../ui/candidates.js";
import { strips } from "../ui/cell-grid.js";
import { choices } from "../ui/controls.js";
import { numeral } from "../ui/numeral.js";
import { meter, scrolling, viewport, waiting } from "../ui/widgets.js";

export const stack = { id: "stack", group: "inside", isPlaced: true, draw, attempt };

const MOST = 14; // positions side by side
const MEASURES = ["reading", "norm", "attention", "mlp", "cosine"];

function attempt() {
  return { change: { more: { measure: "mlp" } } };
}

function draw() {
  if (!live()) return html`${choices(["layer", "position"])}<p class="note">${t("stack.reading.note")}</p>${around()}${tower(undefined, "reading")}${node()}`;
  const measure = MEASURES.includes(state.value.more.measure) ? state.value.more.measure : "reading";
  const streams = readStreams();
  return html`${choices(["layer", "position"])}
    <fieldset class="radios"><legend>${t("stack.measure")}</legend>${MEASURES.map((name) => html`<label>
      <input type="radio" name="measure" .checked=${name === measure} @change=${() => goMore({ measure: name })}> ${t(`stack.${name}`)}</label>`)}</fieldset>
    <p class="note">${t(`stack.${measure}.note`)}</p>
    ${around()}${streams ? tower(streams, measure) : waiting()}${work()}
    ${node()}`;
}

/** Number of columns that fit beside the menu and the row names; narrower ones on a phone. */
function columns() {
  const room = viewport.value > 832 ? (Math.min(viewport.value - 192, 1312) - 140) / 81 : (viewport.value - 80) / 72;
  return Math.max(3, Math.min(MOST, Math.floor(room)));
}

/** The positions shown, {first, count}, in pages, so that selecting one does not scroll. */
function shownPositions() {
  const all = ids.value.length;
  const fit = columns();
  const page = Math.floor(chosen.value.position / fit) * fit;
  return { first: Math.max(0, Math.min(page, all - fit)), count: Math.min(fit, all) };
}

const before = (layer) => (layer === 0 ? "resid.pre.0" : `resid.post.${layer - 1}`);

/** Rows of the residual stream at the shown positions, by tensor; undefined until all have arrived. */
function readStreams() {
  const { first, count } = shownPositions();
  const { n_layer } = model.value.config;
  const layers = Array.from({ length: n_layer }, (_, layer) => layer);
  const names = ["resid.pre.0", ...layers.flatMap((layer) => [`resid.mid.${layer}`, `resid.post.${layer}`])];
  const found = names.map((name) => tensor(`${name}[${first}:${first + count},:]`)); // requests all before any is awaited
  if (found.some((part) => !part)) return undefined;
  return Object.fromEntries(names.map((name, i) => [name, rows(found[i])]));
}

/** The rows of a matrix. */
const rows = ({ shape: [count, width], data }) => Array.from({ length: count }, (_, i) => data.subarray(i * width, (i + 1) * width));

const length = (row) => Math.sqrt(row.reduce((sum, value) => sum + value * value, 0));
const distance = (one, other) => length(one.map((value, i) => value - other[i]));
const cosine = (one, other) => one.reduce((sum, value, i) => sum + value * other[i], 0) / (length(one) * length(other));

// Text of a node: {value, text, tensor, index}. Row i of a stream is position p; layer -1 is the input.
const MEASURED = {
  norm: (streams, i, p, layer) => number(length(streams[after(layer)][i]), `norm(${after(layer)})`, p),
  attention: (streams, i, p, layer) => added(streams, i, p, before(layer), `resid.mid.${layer}`),
  mlp: (streams, i, p, layer) => added(streams, i, p, `resid.mid.${layer}`, `resid.post.${layer}`),
  cosine: (streams, i, p, layer) => number(cosine(streams[after(layer)][i], streams[last()][i]), `cosine(${after(layer)}, ${last()})`, p),
};

const after = (layer) => before(layer + 1);
const last = () => after(model.value.config.n_layer - 1);
const number = (value, tensor, p) => ({ value, text: value.toFixed(2), tensor, index: [p] });
const added = (streams, i, p, from, to) => number(distance(streams[to][i], streams[from][i]), `norm(${to} - ${from})`, p);

/** A node's measure, or undefined: the input has no update, and a lens reading may not have arrived. */
function measured(streams, measure, i, p, layer, readings) {
  if (measure !== "reading") return layer < 0 && ["attention", "mlp"].includes(measure) ? undefined : MEASURED[measure](streams, i, p, layer);
  const best = readings?.[i].get(after(layer))[0];
  return best && { value: best.probability, text: best.text, tensor: `lens(${after(layer)})`, index: [p, best.id], token: true };
}

/** Logit lens at each shown position: candidates by boundary; undefined until the response arrives. */
function readings() {
  const { first, count } = shownPositions();
  const found = live() ? askTrace(`logit_lens?position=${first}&count=${count}&k=${lensTokens()}`)?.positions.map(({ boundaries }) => boundaries) : recorded(first, count);
  return found?.map((boundaries) => new Map(boundaries.map(({ name, top }) => [name, top])));
}

/** The same from a file, which has each position by itself. */
function recorded(first, count) {
  const found = Array.from({ length: count }, (_, i) => lens(first + i));
  return found.every(Boolean) ? found : undefined;
}

/** Table of nodes: the last block at the top, the input at the bottom, a column per position. */
function tower(streams, measure) {
  const { first, count } = shownPositions();
  const { n_layer } = model.value.config;
  const read = measure === "reading" ? readings() : undefined;
  const layers = Array.from({ length: n_layer + 1 }, (_, i) => n_layer - 1 - i);
  const nodes = layers.map((layer) => Array.from({ length: count }, (_, i) => measured(streams, measure, i, first + i, layer, read)));
  const values = nodes.flat().map((each) => Math.abs(each?.value ?? 0));
  const largest = ["reading", "cosine"].includes(measure) ? 1 : Math.max(...values) || 1;
  return scrolling(t("stack.tower"), html`<table class="tower" aria-label=${t("stack.tower")} @keydown=${walk}>
    <tbody>${layers.map((layer, row) => html`<tr><th scope="row">${layer < 0 ? t("stack.input") : `${t("layer")} ${layer}`}</th>
      ${nodes[row].map((each, i) => cell(each, layer, first + i, largest, measure === "reading"))}</tr>`)}</tbody>
    <tfoot><tr><td></td>${labels.value.slice(first, first + count).map((text, i) => html`<th scope="col" class=${first + i === chosen.value.position ? "chosen" : nothing}>
      <span class="token">${text}</span><small>${first + i}</small></th>`)}</tr></tfoot></table>`);
}

function cell(each, layer, position, largest, waits) {
  const here = chosen.value;
  const isChosen = layer === here.layer && position === here.position;
  const says = each?.token ? html`<span class="token" data-tensor=${each.tensor} data-index=${each.index.join(",")}>${each.text}</span>`
    : each ? numeral(each.text, each.tensor, each.index) : html`<span class="number">${waits ? "…" : "–"}</span>`;
  const inside = html`${says}${meter(Math.abs(each?.value ?? 0), largest)}`;
  const kind = isReused(layer, position) ? "reused" : "computed";
  if (layer < 0) return html`<td class="node ${kind}">${inside}</td>`;
  return html`<td class="node ${kind}"><button type="button" data-layer=${layer} data-position=${position} tabindex=${isChosen ? 0 : -1} aria-pressed=${isChosen}
    title=${`${t("layer")} ${layer}${t("sep.comma")}${t("place", { n: position + 1, i: position })}`} @click=${() => go({ layer, position })}>${inside}</button></td>`;
}

/** Arrow keys go from node to node. */
function walk(event) {
  const { layer, position } = chosen.value;
  const { first, count } = shownPositions();
  const moves = { ArrowUp: [1, 0], ArrowDown: [-1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1], Home: [0, first - position], End: [0, first + count - 1 - position] };
  if (!(event.key in moves)) return;
  event.preventDefault();
  const within = (value, end) => Math.max(0, Math.min(end - 1, value));
  const next = { layer: within(layer + moves[event.key][0], model.value.config.n_layer), position: within(position + moves[event.key][1], ids.value.length) };
  const table = event.currentTarget;
  go(next, { replace: true });
  table.querySelector(`[data-layer="${next.layer}"][data-position="${next.position}"]`)?.focus();
}

/** Whether the last trace reused the node's cache. */
function isReused(layer, position) {
  const { positions_reused, changed_layer } = trace.value.work;
  return position < positions_reused && Math.max(layer, 0) < changed_layer;
}

/** Number of nodes computed by the last trace, and reused from the cache. */
function work() {
  const { positions_reused, changed_layer } = trace.value.work;
  const { n_layer } = model.value.config;
  const all = n_layer * ids.value.length;
  const reused = Math.min(changed_layer, n_layer) * positions_reused;
  if (!reused) return html`<p class="note">${t("stack.work.all", { n: all })}</p>`;
  return html`<p class="note node-key"><span class="computed"><i></i> ${t("stack.work.computed", { n: all - reused, all })}</span>
    <span class="reused"><i></i> ${t("stack.work.reused", { n: reused })}</span></p>`;
}

/** Paging through the positions of a long text. */
function around() {
  const { first, count } = shownPositions();
  const all = ids.value.length;
  if (count === all) return nothing;
  const step = (position, label) => html`<button type="button" ?disabled=${position < 0 || position >= all} @click=${() => go({ position })}>${label}</button>`;
  return html`<p class="buttons">${step(first - 1, `← ${t("stack.earlier")}`)}<span>${t("stack.shown", { from: first + 1, to: first + count, all })}</span>
    ${step(first + count, `${t("stack.later")} →`)}</p>`;
}

/** Details of the selected node: the block's input, the updates of attention and MLP, and the logit lens. */
function node() {
  const { layer, position } = chosen.value;
  const token = labels.value[position];
  const hasAll = hasVectors(layer, position);
  const [pre, mid, post] = ["resid.pre", "resid.mid", "resid.post"].map((kind) => (hasAll ? rowCells(`${kind}.${layer}`, position) : undefined));
  const open = (view, words) => (transport().views?.includes(view) ?? true ? html`<button type="button" @click=${() => go({ view })}>${t(words)}</button>` : nothing);
  return html`<h2>${t("stack.node", { layer, token, n: position + 1, i: position })}</h2>
    <p class="buttons">${open("attention", "stack.open.attention")}${open("mlp", "stack.open.mlp")}</p>
    ${!hasAll ? lensHere(layer, position) : pre && mid && post ? html`<div class="two"><div>${strips([[pre, "pre"], [difference(mid, pre), "attn_out"], [mid, "mid"], [difference(post, mid), "mlp_out"], [post, "post"]]
      .map(([cells, words]) => ({ title: t(`stack.${words}`), cells, aside: size(cells) })))}</div><div>${lensHere(layer, position)}</div></div>` : waiting()}`;
}

/** The update between two points; requesting attn_out and mlp_out would recompute the layer for all tokens. */
const difference = (to, from) => ({ ...to, tensor: `${to.tensor} - ${from.tensor}`, values: to.values.map((value, i) => value - from.values[i]) });

const size = (cells) => html`<small>${t("stack.size")}${numeral(length(cells.values).toFixed(2), `norm(${cells.tensor})`, [chosen.value.position])}</small>`;

function lensHere(layer, position) {
  const read = readings()?.[position - shownPositions().first];
  if (!read) return waiting();
  const names = [[before(layer), "stack.reads.before"], [`resid.mid.${layer}`, "stack.reads.mid"], [after(layer), "stack.reads.after"]];
  return html`${names.map(([name, words]) => html`<h3>${t(words)}</h3>${likelyList(read.get(name), `lens(${name})`, position)}`)}
    <p class="note">${t("stack.lens.note")}</p>`;
}
