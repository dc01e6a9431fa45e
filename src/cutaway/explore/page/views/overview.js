// The machine as one picture: the tokens of the text become vectors, which run through all blocks; where the selected token
// looks, what each MLP adds to it, what it would say there, and the scores of the next token. Each station leads to its view.

import { html, nothing, svg } from "../vendor/lit-html.js";
import { colour, paint, range } from "../lib/colours.js";
import { cut, percent, share } from "../lib/format.js";
import { links } from "../lib/patterns.js";
import { gap, t } from "../state/i18n.js";
import { go } from "../state/navigation.js";
import { askTrace, ids, isFull, labels, lens, live, model, position, singledLink, summary, tensor, tokens } from "../state/session.js";
import { numeral } from "../ui/numeral.js";
import { meter, room, scrolling, viewport, waiting } from "../ui/widgets.js";

export const overview = { id: "overview", group: "start", draw, attempt };

const MOST_TOKENS = { wide: 12, narrow: 7 }; // that are drawn: those up to the selected one
const SHOWN = 8; // candidates
const CELLS = 12; // numbers of each vector
const FAINT = 0.03; // weights below are not drawn
const ROW = 34; // pixels between two tokens, or columns on a phone
const NARROW = 832; // pixels: below, the machine is drawn from top to bottom; above, where its blocks do not fit side by side
const DEEP = 1184; // pixels: from here on a machine of more blocks scrolls
const SCORES = 270; // pixels of the scores beside it

/** The head that the model singles out. */
function attempt() {
  const link = singledLink();
  return link && { words: link.words, change: { view: "attention", layer: link.layer, head: link.head, position: -1 } };
}

function draw() {
  const found = read();
  if (!found) return waiting();
  return html`<div class="machine"><div>${scrolling(t("overview.picture"), isNarrow() ? downwards(found) : across(found))}
    <p class="note">${note()}</p></div>${next(found.top)}</div>`;
}

/** Pixels beside all blocks, if each is as narrow as can be. */
const spare = () => room() - LEFT - LEAST * model.value.config.n_layer;

const isNarrow = () => viewport.value < NARROW || (viewport.value < DEEP && spare() < 0);

/** What is drawn, and the marks in the names of tokens. */
function note() {
  const said = [t("overview.note", { token: labels.value[position.value] }), isNarrow() ? t("overview.note.beside") : t("overview.note.cells", { n: CELLS })];
  if (model.value.has_tokenizer && ids.value[0] === model.value.end_of_text) said.push(t("overview.note.marks", { start: labels.value[0] }));
  return said.join(gap());
}

/** All that is shown; undefined until everything has arrived. */
function read() {
  const at = position.value;
  const looks = summary(at);
  const read = lens(at);
  const top = askTrace(`next_tokens?position=${at}&k=${Math.min(10, model.value.config.n_vocab)}`)?.candidates;
  const vectors = tensor(`resid.pre.0[:,0:${Math.min(CELLS, model.value.config.n_embd)}]`);
  if (!looks || !read || !top || !vectors) return undefined;
  const said = new Map(read.map(({ name, top }) => [name, top[0]]));
  const layers = looks.map(({ weights, heads, mlp }, layer) => ({
    weights, heads, layer,
    most: links([{ weights, heads }]).find(({ key }) => key > 0 && key < at) ?? links([{ weights, heads }])[0],
    added: mlp,
    says: said.get(`resid.post.${layer}`),
  }));
  return { at, top, layers, vectors, ...window(at) };
}

/** The tokens that are drawn: the last ones up to the selected one, or the first ones of the text. */
function window(at) {
  const most = MOST_TOKENS[isNarrow() ? "narrow" : "wide"];
  const end = Math.max(at + 1, Math.min(most, ids.value.length));
  return { first: Math.max(0, end - most), end };
}

function follow(event, change) {
  event.preventDefault();
  go(change);
}

const door = (change, name, inside) => svg`<a class="door" href="#" aria-label=${name} @click=${(event) => follow(event, change)}>${inside}</a>`;

// From left to right: a row for each token.

const TOP = 62; // pixels above the first token
const TOKEN = 112; // pixels for a token's text
const VECTOR = 96; // pixels for its vector
const LABEL = 17; // pixels per line below
const LEFT = TOKEN + VECTOR + 26; // pixels before the blocks
const LEAST = 42; // pixels of a block

function across({ at, first, end, layers, vectors }) {
  const more = spare() - (spare() < SCORES ? 0 : SCORES);
  const block = Math.max(LEAST, Math.min(110, LEAST + more / layers.length));
  const wide = LEFT + block * layers.length;
  const y = (token) => TOP + (token - first + 0.5) * ROW;
  const bottom = y(end - 1) + ROW / 2 + 10;
  const high = bottom + 4 * LABEL + 14;
  const x = (layer) => LEFT + layer * block;
  const many = layers.length;
  return html`<svg class="flow" width=${wide} height=${high} role="group" aria-label=${t("overview.picture")}>
    ${station(0, 1, "tokens", t("tokens.title"))}${station(TOKEN + 8, 2, "input", t("overview.vectors"))}
    ${station(LEFT, 3, "stack", t("overview.blocks", { n: many }))}
    ${layers.map(({ layer }) => svg`<text class="quiet" x=${x(layer) + block / 2} y=${TOP - 14} text-anchor="middle">${block < 70 ? layer : `${t("layer")} ${layer}`}</text>`)}
    ${first ? svg`<text class="quiet" x=${TOKEN - 6} y=${y(first - 1) + 5} text-anchor="end">… ${first}</text>` : nothing}
    ${span(first, end).map((token) => svg`<path class=${token === at ? "stream here" : token > at ? "stream later" : "stream"} d="M${LEFT - 14} ${y(token)}H${token > at ? x(0) : wide}"></path>
      ${chip(token, at, TOKEN - 6, y(token) + 5)}${cells(vectors, token, TOKEN + 10, y(token) - 8)}`)}
    ${layers.map((each) => inside(each, at, first, (token) => [x(each.layer) + 6, y(token)], [x(each.layer) + 0.62 * block, y(at)], false))}
    ${layers.map(({ layer, most, heads }) => door({ view: "attention", layer, head: heads[most.key] }, t("overview.attention", names(layer, most)), svg`
      <rect class="zone" x=${x(layer) + 2} y=${TOP} width=${0.6 * block} height=${bottom - TOP - 8} rx="5"></rect>`))}
    ${layers.map(({ layer, added }) => door({ view: "mlp", layer }, t("overview.mlp", { layer, value: added.toFixed(1) }), svg`
      <rect class="zone" x=${x(layer) + 0.66 * block} y=${TOP} width=${0.3 * block} height=${bottom - TOP - 8} rx="5"></rect>
      ${drop(added, layers, x(layer) + 0.8 * block, y(at), block)}`))}
    ${["looks", "weight", "adds", "says"].map((row, i) => svg`<text class="quiet" x=${LEFT - 12} y=${bottom + (i + 0.8) * LABEL} text-anchor="end">${t(`overview.${row}`)}</text>`)}
    ${layers.map((each) => values(each, at, x(each.layer) + block / 2, bottom + 0.8 * LABEL, Math.floor(block / 8.6)))}
  </svg>`;
}

const span = (first, end) => Array.from({ length: end - first }, (_, i) => first + i);
const names = (layer, { key, weight }) => ({ layer, token: labels.value[position.value], key: labels.value[key], weight: percent(weight, 0) });

const station = (x, n, view, words) => door({ view }, words, svg`<text class="station" x=${x} y="20"><tspan class="quiet">${n}</tspan> ${words}</text>`);

function chip(token, at, x, y) {
  return svg`<text class=${token === at ? "strong here" : token > at ? "quiet" : ""} x=${x} y=${y} text-anchor="end" @click=${() => go({ position: token })}>
    ${cut(labels.value[token], 13)}</text>`;
}

/** The first numbers of a token's vector, in colours. */
function cells({ shape: [, width], data }, token, x, y) {
  const ends = range(data, "signed");
  return span(0, width).map((i) => svg`<rect x=${x + i * 7} y=${y} width="6.4" height="16" fill="rgb(${[...paint(data[token * width + i], "signed", ends)].join(" ")})"
    data-tensor="resid.pre.0" data-index="${token},${i}"></rect>`);
}

/** Where the selected token looks in a layer: curves as thick as the weights. */
function inside({ weights, heads, layer }, at, first, from, [x, y], isDown) {
  return weights.map((weight, key) => {
    if (key === at || weight < FAINT) return nothing;
    const [startX, startY] = from(Math.max(key, first - 1));
    const bend = isDown ? `${startX} ${(startY + y) / 2} ${x} ${(startY + y) / 2}` : `${(startX + x) / 2} ${startY} ${(startX + x) / 2} ${y}`;
    return svg`<path fill="none" stroke=${colour("score")} stroke-width=${0.6 + 7 * weight} opacity=${0.15 + 0.8 * weight} stroke-linecap="round"
      d="M${startX} ${startY}C${bend} ${x} ${y}" data-tensor="attn.${layer}" data-index="${heads[key]},${at},${key}"></path>`;
  });
}

/** What the MLP adds, as a disc whose area is the length of it. */
function drop(added, layers, x, y, room) {
  const most = Math.max(...layers.map((each) => each.added));
  return svg`<circle cx=${x} cy=${y} r=${Math.max(2, Math.min(11, room / 8) * Math.sqrt(added / most))} fill=${colour("mlp")}></circle>`;
}

/** What there is to say of a block, below it. */
function values({ layer, heads, most, added, says }, at, x, y, room) {
  return svg`<text x=${x} y=${y} text-anchor="middle">${cut(labels.value[most.key], room)}</text>
    <text class="number" x=${x} y=${y + LABEL} text-anchor="middle" data-tensor="attn.${layer}" data-index="${heads[most.key]},${at},${most.key}">${percent(most.weight, 0)}</text>
    <text class="number" x=${x} y=${y + 2 * LABEL} text-anchor="middle" data-tensor="norm(resid.post.${layer} - resid.mid.${layer})" data-index=${at}>${added.toFixed(1)}</text>
    ${says ? svg`<text class="strong" x=${x} y=${y + 3 * LABEL} text-anchor="middle" data-tensor="lens(resid.post.${layer})" data-index="${at},${says.id}">${cut(says.text, room)}</text>` : nothing}`;
}

// From top to bottom, on a phone: a column for each token.

const HEAD = 96; // pixels above the first block
const BLOCK = 66; // pixels for a block
const BESIDE = 96; // pixels for what is said beside it

function downwards({ at, first, end, layers, vectors }) {
  const column = Math.min(44, (room() - 22 - BESIDE) / (end - first));
  const x = (token) => 14 + (token - first + 0.5) * column;
  const right = 14 + (end - first) * column + 8;
  const high = HEAD + BLOCK * layers.length + 6;
  const y = (layer) => HEAD + layer * BLOCK;
  return html`<svg class="flow" width=${right + BESIDE} height=${high} role="group" aria-label=${t("overview.picture")}>
    ${span(first, end).map((token) => svg`<path class=${token === at ? "stream here" : token > at ? "stream later" : "stream"} d="M${x(token)} ${HEAD - 20}V${token > at ? HEAD : high}"></path>
      <text class=${token === at ? "strong here" : token > at ? "quiet" : ""} transform="translate(${x(token) + 4} ${HEAD - 26}) rotate(-62)">${cut(labels.value[token], 10)}</text>`)}
    ${layers.map((each) => svg`<text class="quiet" x="0" y=${y(each.layer) + 24}>${each.layer}</text>
      ${inside(each, at, first, (token) => [x(token), y(each.layer)], [x(at), y(each.layer) + 0.68 * BLOCK], true)}
      ${drop(each.added, layers, x(at), y(each.layer) + 0.8 * BLOCK, 60)}
      ${door({ view: "attention", layer: each.layer, head: each.heads[each.most.key] }, t("overview.attention", names(each.layer, each.most)), svg`
        <rect class="zone" x="12" y=${y(each.layer) + 2} width=${right - 12} height=${0.64 * BLOCK} rx="5"></rect>
        <text class="number" x=${right + 4} y=${y(each.layer) + 20} data-tensor="attn.${each.layer}" data-index="${each.heads[each.most.key]},${at},${each.most.key}">${percent(each.most.weight, 0)}</text>
        <text class="quiet" x=${right + 42} y=${y(each.layer) + 20}>${cut(labels.value[each.most.key], 6)}</text>`)}
      ${door({ view: "mlp", layer: each.layer }, t("overview.mlp", { layer: each.layer, value: each.added.toFixed(1) }), svg`
        <text class="number" x=${right + 4} y=${y(each.layer) + 38} fill=${colour("mlp")} data-tensor="norm(resid.post.${each.layer} - resid.mid.${each.layer})" data-index=${at}>+${each.added.toFixed(1)}</text>`)}
      ${each.says ? svg`<text class="strong" x=${right + 4} y=${y(each.layer) + 56} data-tensor="lens(resid.post.${each.layer})" data-index="${at},${each.says.id}">${cut(each.says.text, 9)}</text>` : nothing}`)}
  </svg>`;
}

/** The scores at the end: the likeliest next tokens; the likeliest one, or another, is written. */
function next(top) {
  const at = position.value;
  const isLast = at === tokens.value.length - 1;
  return html`<section aria-labelledby="next"><h2 id="next"><a class="door" href="#" @click=${(event) => follow(event, { view: "output" })}><small>4</small> ${t("attention.scores")}</a>
    → <a class="door" href="#" @click=${(event) => follow(event, { view: "play" })}><small>5</small> ${t("overview.next")}</a></h2>
    <ol class="candidates short">${top.slice(0, SHOWN).map(({ id, text, probability }) => html`<li><button type="button" ?disabled=${!live() || isFull()}
      @click=${() => go({ ids: [...ids.value.slice(0, at + 1), id], position: -1 })}><span class="token">${text}</span>${meter(probability)}
      ${numeral(share(probability), "probs", [at, id])}</button></li>`)}</ol>
    ${live() ? html`<p class="note">${t(isLast ? "overview.write" : "play.from", { token: labels.value[at] })}</p>` : nothing}</section>`;
}
