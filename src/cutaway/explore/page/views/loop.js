// The auto-regressive loop and its cache: each step is a real step of the model, and says what it computed and what it reused.

import { html, nothing } from "../vendor/lit-html.js";
import { signal } from "../vendor/signals-core.js";
import { apart, cut } from "../lib/format.js";
import { likely, logits, word } from "../state/candidates.js";
import { gap, t } from "../state/i18n.js";
import { go, goMore, ownSetting } from "../state/navigation.js";
import { ids, isFull, labels, live, model, position, post, progress, report, trace } from "../state/session.js";
import { loopMotion } from "../ui/loop-motion.js";
import { numeral } from "../ui/numeral.js";
import { scrolling, viewport, waiting } from "../ui/widgets.js";

export const loop = { id: "loop", group: "start", draw, attempt };

const SHOWN = 48; // positions of the cache that are drawn
const PAUSE = 900; // milliseconds between steps that go by themselves, at speed 1

const playing = signal(false);

/** Tokens per PAUSE. */
const speed = () => ownSetting("speed", 0.5, 4, 1);
const measured = signal(null); // the last proof, and of which trace

function attempt() {
  return { run: toggle };
}

function draw() {
  return html`${controls()}${last()}${cache()}${proof()}`;
}

function controls() {
  const isOver = !live() || isFull();
  return html`<p class="buttons">
    <button type="button" ?disabled=${isOver} @click=${step}>${t("loop.step")}</button>
    <button type="button" ?disabled=${isOver} aria-pressed=${playing.value} @click=${toggle}>${t(playing.value ? "player.pause" : "loop.play")}</button>
    <button type="button" ?disabled=${!live() || ids.value.length < 2} @click=${() => go({ ids: ids.value.slice(0, -1), position: -1 })}>${t("loop.back")}</button>
    <label class="choice">${t("loop.speed")} <span class="number">${speed()} ×</span> <input class="speed" type="range" min="0.5" max="4" step="0.5" .value=${String(speed())} @input=${(event) => goMore({ speed: event.target.value })}></label></p>`;
}

/** One token; not before the last one is read. The button stays enabled meanwhile, so that it keeps the focus. */
function step() {
  const scores = logits();
  if (progress.peek() === null && scores) go({ ids: [...ids.value.slice(0, position.value + 1), likely(scores).order[0]], position: -1 });
}

function toggle() {
  playing.value = !playing.value;
  if (playing.value) tick();
}

function tick() {
  if (!playing.peek() || !document.querySelector('main[data-view="loop"]') || isFull()) {
    playing.value = false;
    return;
  }
  step();
  setTimeout(tick, PAUSE / speed());
}

/** Output becomes input: the columns up to the selected token, the likeliest next one above it, and where it goes. */
function last() {
  const scores = logits();
  if (!scores) return waiting();
  const n = position.value + 1;
  const count = viewport.value < 832 ? 4 : 7;
  const first = Math.max(0, Math.ceil((n - count) / 3) * 3); // so that most steps move the token, not the picture
  const { order, probabilities } = likely(scores);
  const [id] = order;
  const shown = labels.value.slice(first, n);
  const fresh = shown.findIndex((_, i) => kindOf(model.value.config.n_layer - 1, first + i) === "computed");
  const output = { text: word(id), probability: probabilities[id], tensor: "probs", index: [n - 1, id] };
  return html`<div class="motion">${loopMotion({ tokens: [...shown, null], current: n - 1 - first, fresh: fresh < 0 ? n - 1 - first : fresh, phase: "out", output, title: t("loop.title") })}
    <p class="becomes">${t("loop.out", { token: word(id) })}${gap()}${t("loop.becomes", { n: n + 1, i: n })}</p></div>`;
}

/** Layers × positions: computed in the last step, reused, or empty. */
function cache() {
  const { n_layer, n_embd } = model.value.config;
  const { work } = trace.value;
  const count = ids.value.length;
  const perPosition = 2 * n_layer * n_embd * 4;
  return html`<h2>${t("loop.cache")}</h2>
    <p>${t("loop.work", { computed: work.positions_computed, reused: work.positions_reused, layers: work.layers_computed })}</p>
    ${scrolling(t("loop.cache"), slots())}
    <p class="key">${Object.keys(MARKS).map((kind) => html`<span class=${kind}><i>${MARKS[kind]}</i> ${t(`loop.column.${kind}`)}</span>`)}</p>
    <p>${t("loop.bytes", { per: perPosition, all: perPosition * count, n: count })}</p>
    <p class="note">${t("loop.noq")}</p>`;
}

const MARKS = { computed: "●", reused: "○", empty: "·" };

function slots() {
  const { n_layer, n_ctx } = model.value.config;
  const shown = Math.min(SHOWN, Math.floor((viewport.value < 832 ? viewport.value - 90 : Math.min(viewport.value - 192, 1312) - 130) / 37));
  const first = Math.max(0, ids.value.length - shown + 2); // the newest is in sight, and two that are empty
  const places = Array.from({ length: Math.min(shown, n_ctx - first) }, (_, i) => first + i);
  const slot = (kind) => html`<td class=${kind} aria-label=${t(`loop.column.${kind}`)}><span>${MARKS[kind]}</span></td>`;
  return html`<table class="cache" aria-label=${t("loop.cache")}>
    <thead><tr><th scope="col">${t("layer")}</th>${places.map((place) => html`<th scope="col">${cut(labels.value[place] ?? String(place), 13)}</th>`)}</tr></thead>
    <tbody>${Array.from({ length: n_layer }, (_, layer) => html`<tr><th scope="row">${layer}</th>
      ${places.map((place) => slot(kindOf(layer, place)))}</tr>`)}</tbody></table>`;
}

function kindOf(layer, place) {
  const { changed_layer, positions_reused } = trace.value.work;
  if (place >= ids.value.length) return "empty";
  return layer < changed_layer && place < positions_reused ? "reused" : "computed";
}

async function measure() {
  try {
    const id = trace.peek().trace;
    measured.value = { id, ...(await post(`traces/${id}/cache_benchmark`, {})) };
  } catch (error) {
    report(error);
  }
}

/** The same logits with and without the cache, and the time that each took just now. */
function proof() {
  const found = measured.value?.id === trace.value.trace ? measured.value : null;
  return html`<h2>${t("loop.proof")}</h2><p><button type="button" ?disabled=${!live() || ids.value.length < 2} @click=${measure}>${t("loop.measure")}</button></p><div role="status">
    ${found ? html`<dl class="measured">${took("loop.with", found.with_cache)}${took("loop.without", found.without_cache)}
      <dt>max |Δ logits|</dt><dd>${numeral(apart(found.max_difference), "logits - logits", [ids.value.length - 1])}</dd></dl>` : nothing}</div>`;
}

const took = (words, { positions, seconds }) =>
  html`<dt>${t(words, { n: positions })}</dt><dd>${numeral(`${(1000 * seconds).toFixed(1)} ms`, "measured", [])}</dd>`;
