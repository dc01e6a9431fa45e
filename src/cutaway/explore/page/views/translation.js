// A translation: written greedily and by beams, and the map of attention from the tokens of its source to those of its target.

import { html, nothing } from "../vendor/lit-html.js";
import { effect, signal } from "../vendor/signals-core.js";
import { cellsOfSlice, computedCells, indexOf, valueAt } from "../lib/cells.js";
import { isLight, paint } from "../lib/colours.js";
import { percent } from "../lib/format.js";
import { language, t } from "../state/i18n.js";
import { go, goMore, state } from "../state/navigation.js";
import { ask, askTrace, chosen, hasHeads, ids, labels, live, model, report, tensor, trace, transport } from "../state/session.js";
import { grid } from "../ui/cell-grid.js";
import { choices, enterSubmits } from "../ui/controls.js";
import { headMap } from "../ui/head-map.js";
import { numeral } from "../ui/numeral.js";
import { keep, waiting } from "../ui/widgets.js";

export const translation = { id: "translation", group: "try", draw, attempt, isOffered: () => model.value.directions.length > 0 };

const MEANS = ["head", "layer", "all"]; // whose weights the map shows: one head's, or the mean of a layer's or of all heads
const MOST_WEIGHTS = 2 ** 21; // that a mean is made of
const LISTED = 3; // tokens of the source in the sentence about one of the target
const draft = signal(null); // {source, way} that are set and have not been translated
const writing = signal(null); // the AbortController of a translation on its way
const written = signal(null); // the last one that was asked for here
const pointed = signal(null); // the row of the token that is pointed at, or has the focus

/** The trace as a translation: {from, to, source, target, n_source, layer, head, links}. Undefined until it arrives. */
const reading = () => (translation.isOffered() ? askTrace("translation") : undefined);

/** The link of the aligning head that weighs most; where that is chosen, the next to another token of the source. */
function attempt() {
  const { layer, head, links = [] } = reading() ?? {};
  const here = chosen.value;
  const isThere = here.layer === layer && here.head === head;
  const isWord = (position) => /\p{L}/u.test(labels.value[position] ?? "");
  const link = links.find(([query, key]) => isWord(query + 1) && isWord(key) && !(isThere && query === here.position));
  if (!link) return null;
  const [query, key] = link;
  const more = { ...state.value.more };
  delete more.mean;
  return { words: { target: labels.value[query + 1], source: labels.value[key] }, change: { layer, head, position: query, more } };
}

/** Where nobody has chosen a head or a token, it opens on the head that goes through the source, at its heaviest link. */
effect(() => {
  const { view, position, ids: wanted, layer, head } = state.value;
  const isChosen = position >= 0 && layer !== null && head !== null;
  if (view !== "translation" || isChosen || !trace.value || !live() || String(wanted) !== String(ids.value)) return;
  const found = reading();
  if (!found?.links?.length) return;
  go({ layer: layer ?? found.layer, head: head ?? found.head, position: position < 0 ? found.links[0][0] : position }, { replace: true });
});

function draw() {
  if (!translation.isOffered()) return html`<p class="note">${t("translation.absent")}</p><p><code>cutaway explore --model builtin-translation</code></p>`;
  const found = reading();
  if (!found) return waiting();
  return html`${live() ? writer(found) : recorded(found)}
    ${found.source === null ? html`<p class="note">${t("translation.none")}</p>` : keep("translation.map", () => (found.n_source < ids.value.length ? map(found) : html`<p class="note">${t("translation.unwritten")}</p>`))}`;
}

/** The sentence, the direction, and what the model writes. */
function writer(found) {
  const { directions } = model.value;
  const own = found.source === null ? directions[0] : [found.from, found.to];
  const way = draft.value?.way ?? own;
  const source = draft.value?.source ?? found.source ?? "";
  const isChanged = state.value.changes.length > 0;
  const set = (change) => { draft.value = { source, way, ...change }; };
  return html`<section aria-labelledby="translation-write"><h2 id="translation-write">${t("translation.write")}</h2>
    <form class="translate" @submit=${(event) => { event.preventDefault(); write(source, way); }}>
      <textarea name="source" rows="2" maxlength="2000" spellcheck="false" lang=${way[0]} aria-label=${t("translation.sentence")} .value=${source}
        @input=${(event) => set({ source: event.target.value })} @keydown=${enterSubmits}></textarea>
      <fieldset class="radios"><legend>${t("translation.direction")}</legend>${directions.map((each) => html`<label>
        <input type="radio" name="direction" .checked=${String(each) === String(way)} @change=${() => set({ way: each })}> ${each.map(nameOf).join(" → ")}</label>`)}</fieldset>
      <p class="buttons"><button ?disabled=${isChanged || !source.trim()}>${t("translation.run")}</button>
        ${writing.value ? html`<button type="button" class="quiet" @click=${() => writing.value.abort()}>${t("cancel")}</button>` : nothing}
        <small role="status">${writing.value ? t("translation.writing") : isChanged ? t("play.unchanged") : nothing}</small></p></form>
    ${found.source === null || isChanged ? nothing : keep("translation.list", () => list(found))}</section>`;
}

/** What a file has: the sentence, and what the model wrote. */
const recorded = (found) => html`<section aria-labelledby="translation-write"><h2 id="translation-write">${t("translation.write")}</h2>
    <p class="translated" lang=${found.from}>${found.source}</p>
    ${found.source === null || trace.value.interventions.length ? nothing : list(found)}</section>`;

/** The language of a code, in the page's language; the code itself if it names none. */
function nameOf(code) {
  try {
    return new Intl.DisplayNames([language.value], { type: "language" }).of(code);
  } catch {
    return code;
  }
}

const path = ({ from, to, source }) => `translations?${new URLSearchParams({ from, to, source })}`;

/** Who leaves the view does not wait for a translation any more. */
effect(() => { if (state.value.view !== "translation") writing.peek()?.abort(); });

/** Have a sentence translated, and read it with the greedy translation. */
async function write(source, [from, to]) {
  writing.peek()?.abort();
  const request = new AbortController();
  writing.value = request;
  try {
    written.value = await transport().json(path({ from, to, source: source.trim() }), request.signal);
    show(written.value.translations.find(({ greedy }) => greedy));
  } catch (error) {
    report(error);
  }
  if (writing.peek() === request) writing.value = null;
}

function show(each) {
  draft.value = null;
  go({ ids: each.ids, text: null, position: -1 });
}

/** What the model writes, greedily and by beam search, best first; one of them is read. */
function list(found) {
  const isShown = (each) => String(each.ids) === String(ids.value);
  const result = written.value?.translations.some(isShown) ? written.value : ask(path(found));
  if (!result) return waiting();
  return html`<h3>${t("translation.list")}</h3><p class="note">${t("translation.list.note")}</p>
    ${result.cut ? html`<p class="note">${t("translation.cut", { n: result.cut })}</p>` : nothing}
    <ol class="candidates translations">${result.translations.map((each) => html`<li><button type="button" aria-pressed=${isShown(each)} ?disabled=${!live()} @click=${() => show(each)}>
      <span class="translated" lang=${found.to}>${each.text}${each.finished ? nothing : " …"}</span><small>${t(each.greedy ? "translation.greedy" : "translation.beams")}</small>
      ${numeral(each.score.toFixed(3), "sum(logprobs) / length penalty", [])}</button></li>`)}</ol>`;
}

/** The map: a row for each token of the target, and the end, a column for each token of the source. */
function map(found) {
  if (state.value.layer === null) return waiting(); // until it opens on one
  const { layer, head, position } = chosen.value;
  const { n_source } = found;
  const first = n_source - 1; // the token after which the target begins
  const mean = meanOf(n_source);
  const cells = CELLS[mean](layer, head, first, n_source);
  if (!cells) return waiting();
  const source = labels.value.slice(0, n_source);
  const target = [...labels.value.slice(n_source), t("translation.end")];
  const chosenRow = Math.max(0, position - first);
  const row = Math.min(pointed.value ?? chosenRow, target.length - 1);
  const pick = (each) => go({ position: first + each }, { replace: true });
  const title = t(`translation.of.${mean}`, { layer, head });
  return html`<section aria-labelledby="translation-map"><h2 id="translation-map">${t("translation.map")}</h2>
    <p class="note">${t("translation.map.note")}</p>
    <div class="chooser"><div>${choices(["layer", "head"])}${means(mean, n_source)}
      <figure class="aligned"><figcaption>${title}</figcaption>${sourceLine(cells, source, row)}${targetLine(target, row, chosenRow, pick)}
        ${sentence(cells, source, target, row, first)}</figure></div><div>${headMap()}</div></div>
    ${grid({ title: `${t("translation.map")}${t("sep.colon")}${title}`, cells, scale: "share", rowLabels: target, columnLabels: source, rowAxis: t("translation.written"), columnAxis: t("translation.source"),
      cursor: [chosenRow, heaviest(cells, chosenRow)[0]], pick })}</section>`;
}

/** Which weights the map shows; a mean of too many numbers is none. */
function meanOf(n_source) {
  const { mean } = state.value.more;
  return MEANS.includes(mean) && isCheap(mean, n_source) ? mean : "head";
}

function isCheap(mean, n_source) {
  const { n_layer, n_head } = model.value.config;
  const heads = { head: 1, layer: n_head, all: n_layer * n_head }[mean];
  return mean === "head" || (hasHeads() && heads * n_source * (ids.value.length + 1 - n_source) <= MOST_WEIGHTS);
}

const means = (chosenMean, n_source) => html`<fieldset class="radios"><legend>${t("translation.weights")}</legend>${MEANS.map((name) => html`<label>
  <input type="radio" name="mean" .checked=${name === chosenMean} ?disabled=${!isCheap(name, n_source)} @change=${() => goMore({ mean: name === "head" ? null : name })}> ${t(`translation.mean.${name}`)}</label>`)}</fieldset>`;

const CELLS = {
  head(layer, head, first, n) {
    const found = tensor(`attn.${layer}[${head},${first}:${ids.value.length},0:${n}]`);
    return found && cellsOfSlice(found);
  },
  layer: (layer, head, first, n) => averaged([layer], `attn.${layer}`, first, n),
  all: (layer, head, first, n) => averaged(Array.from({ length: model.value.config.n_layer }, (_, each) => each), "attn", first, n),
};

/** The mean of all heads of some layers, with F60's formula. */
function averaged(layers, name, first, n) {
  const end = ids.value.length;
  const found = layers.map((layer) => tensor(`attn.${layer}[:,${first}:${end},0:${n}]`)); // requests all before any is awaited
  if (!found.every(Boolean)) return undefined;
  const size = (end - first) * n;
  const total = new Float64Array(size);
  for (const { data } of found) data.forEach((weight, i) => { total[i % size] += weight; });
  const count = found.length * model.value.config.n_head;
  return computedCells(`mean(${name}[:, ${first}:${end}, :${n}], 0)`, total.map((sum) => sum / count), n);
}

const weightsOf = (cells, row) => cells.values.subarray(row * cells.columns, (row + 1) * cells.columns);

/** Columns by their weight in a row, the heaviest first. */
const heaviest = (cells, row) => Array.from(weightsOf(cells, row), (_, column) => column).sort((a, b) => valueAt(cells, row, b) - valueAt(cells, row, a));

/** The tokens of the source, as strongly marked as they are looked at. */
function sourceLine(cells, source, row) {
  return html`<p id="translation-source"><small>${t("translation.source")}</small></p><ol class="aligned-line" aria-labelledby="translation-source">${source.map((text, column) => {
    const weight = valueAt(cells, row, column);
    const at = paint(weight, "share", { low: 0, high: 1 });
    return html`<li .style=${`background: rgb(${[...at].join(" ")}); color: ${isLight(at) ? "#1f2430" : "#fff"}`}><span class="token">${text}</span> ${numeral(percent(weight, 0), cells.tensor, indexOf(cells, row, column))}</li>`;
  })}</ol>`;
}

/** The tokens of the target, as buttons; the arrow keys go from one to the next. */
function targetLine(target, row, chosenRow, pick) {
  return html`<p id="translation-target"><small>${t("translation.written")}</small></p><ol class="aligned-line" aria-labelledby="translation-target" @keydown=${walk}
    @pointerleave=${() => { pointed.value = null; }}>${target.map((text, i) => html`<li><button type="button" class=${`token ${i === target.length - 1 ? "ends" : ""} ${i === row ? "pointed" : ""}`}
      aria-pressed=${i === chosenRow} aria-describedby=${i === row ? "translation-said" : nothing} tabindex=${i === chosenRow ? 0 : -1}
      @pointerenter=${() => { pointed.value = i; }} @focus=${() => { pointed.value = i; }} @blur=${() => { pointed.value = null; }} @click=${() => pick(i)}>${text}</button></li>`)}</ol>`;
}

function walk(event) {
  const buttons = [...event.currentTarget.querySelectorAll("button")];
  const at = buttons.indexOf(document.activeElement);
  const places = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: buttons.length - 1 };
  if (!(event.key in places)) return;
  event.preventDefault();
  buttons[Math.max(0, Math.min(buttons.length - 1, places[event.key]))].focus();
}

/** What is looked at from one token, in words. */
function sentence(cells, source, target, row, first) {
  const weights = weightsOf(cells, row);
  const all = weights.reduce((sum, weight) => sum + weight, 0);
  const part = cells.tensor.startsWith("mean") ? `sum(${cells.tensor}, -1)` : `sum(${cells.tensor}[${chosen.value.head},${first + row},:${source.length}])`;
  return html`<p class="note" id="translation-said" role="status">${t("translation.said", { target: target[row], before: labels.value[first + row] })}
    ${heaviest(cells, row).slice(0, LISTED).map((column, i) => html`${i ? t("sep.comma") : nothing}<span class="token">${source[column]}</span> ${numeral(percent(weights[column], 0), cells.tensor, indexOf(cells, row, column))}`)}${t("sep.and")}${t("translation.share")}${numeral(percent(all, 0), part, [])}</p>`;
}
