// The auto-regressive loop and its cache: each step is a real step of the model, and says what it computed and what it reused.

import { html, nothing } from "../vendor/lit-html.js";
import { computed, signal } from "../vendor/signals-core.js";
import { t } from "../app/i18n.js";
import { ask, ids, live, model, post, progress, report, tensor, tokens, trace } from "../app/model.js";
import { go } from "../app/state.js";
import { numeral, percent, select } from "../draw/numbers.js";
import { softmax } from "../app/sampling.js";

export const loop = { id: "loop", draw };

const SHOWN = 48; // positions of the cache that are drawn
const PAUSE = 900; // milliseconds between steps that go by themselves

const playing = signal(false);
const measured = signal(null); // the last proof, and of which trace

const logits = computed(() => trace.value && tensor(select("logits", ids.value.length - 1, ":"))?.data);
const likeliest = computed(() => logits.value && logits.value.reduce((best, value, i, all) => (value > all[best] ? i : best), 0));

function draw() {
  return html`${controls()}${last()}${cache()}${proof()}`;
}

function controls() {
  const full = ids.value.length >= model.value.config.n_ctx, wait = progress.value !== null || likeliest.value === undefined;
  return html`<p class="buttons">
    <button type="button" ?disabled=${!live() || full || wait} @click=${step}>${t("loop.step")}</button>
    <button type="button" ?disabled=${!live() || full} aria-pressed=${playing.value} @click=${toggle}>${t(playing.value ? "loop.pause" : "loop.play")}</button>
    <button type="button" ?disabled=${!live() || ids.value.length < 2} @click=${() => go({ ids: ids.value.slice(0, -1), position: -1 })}>${t("loop.back")}</button></p>
    <p class="note">${t("loop.note")}</p>`;
}

function step() {
  if (likeliest.value !== undefined) go({ ids: [...ids.value, likeliest.value], position: -1 });
}

function toggle() {
  playing.value = !playing.value;
  if (playing.value) tick();
}

function tick() {
  if (!playing.peek() || !document.querySelector('main[data-view="loop"]') || ids.peek().length >= model.peek().config.n_ctx) {
    playing.value = false;
    return;
  }
  if (progress.peek() === null && likeliest.peek() !== undefined) step();
  setTimeout(tick, PAUSE);
}

/** Output becomes input: the likeliest next token, and where it goes. */
function last() {
  const id = likeliest.value;
  if (id === undefined) return html`<p>${t("loading")}</p>`;
  const words = ask("vocabulary")?.tokens, share = softmax(logits.value)[id], at = ids.value.length;
  return html`<p class="becomes"><span class="token">${tokens.value.slice(-6).map((token) => token.text).join(" ")}</span>
    <span aria-hidden="true">→</span> <b class="token">${words?.[id] ?? `#${id}`}</b> ${numeral(percent(share), "probs", [at - 1, id])}
    <span>${t("loop.becomes", { n: at + 1, i: at })}</span></p>`;
}

/** Layers × positions: computed in the last step, reused, or empty. */
function cache() {
  const { n_layer, n_ctx, n_embd } = model.value.config, { work } = trace.value, count = ids.value.length;
  const first = Math.max(0, count - SHOWN + 6), places = Array.from({ length: Math.min(SHOWN, n_ctx - first) }, (_, i) => first + i);
  const perPosition = 2 * n_layer * n_embd * 4;
  const kind = (layer, place) => {
    if (place >= count) return "empty";
    return layer < work.changed_layer && place < work.positions_reused ? "reused" : "computed";
  };
  return html`<h2>${t("loop.cache")}</h2>
    <p>${t("loop.work", { computed: work.positions_computed, reused: work.positions_reused, layers: work.layers_computed })}</p>
    <div class="scroll" tabindex="0" role="region" aria-label=${t("loop.cache")}><table class="cache">
      <thead><tr><th scope="col">${t("layer")}</th>${places.map((place) => html`<th scope="col">${tokens.value[place]?.text ?? place}</th>`)}</tr></thead>
      <tbody>${Array.from({ length: n_layer }, (_, layer) => html`<tr><th scope="row">${layer}</th>
        ${places.map((place) => html`<td class=${kind(layer, place)}><span>${mark(kind(layer, place))}</span></td>`)}</tr>`)}</tbody></table></div>
    <p class="key">${["computed", "reused", "empty"].map((name) => html`<span class=${name}><i>${mark(name)}</i> ${t(`loop.${name}`)}</span>`)}</p>
    <p>${t("loop.bytes", { per: perPosition.toLocaleString("en"), all: (perPosition * count).toLocaleString("en"), n: count })}</p>
    <p class="note">${t("loop.noq")}</p>`;
}

const mark = (name) => ({ computed: "●", reused: "○", empty: "·" })[name];

async function measure() {
  try {
    const id = trace.peek().trace;
    measured.value = { id, ...(await post(`traces/${id}/proof`, {})) };
  } catch (error) {
    report(error);
  }
}

/** The same logits with and without the cache, and the time that each took just now. */
function proof() {
  const found = measured.value?.id === trace.value.trace ? measured.value : null;
  const time = (seconds) => `${(1000 * seconds).toFixed(1)} ms`;
  return html`<h2>${t("loop.proof")}</h2><p><button type="button" ?disabled=${!live() || ids.value.length < 2} @click=${measure}>${t("loop.measure")}</button></p>
    ${found ? html`<dl class="measured">
      <dt>${t("loop.with", { n: found.with_cache.positions })}</dt><dd>${numeral(time(found.with_cache.seconds), "measured", [])}</dd>
      <dt>${t("loop.without", { n: found.without_cache.positions })}</dt><dd>${numeral(time(found.without_cache.seconds), "measured", [])}</dd>
      <dt>max |Δ logits|</dt><dd>${numeral(found.max_difference.toExponential(1), "logits - logits", [ids.value.length - 1])}</dd></dl>` : nothing}`;
}
