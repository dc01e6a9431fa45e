// Ten candidates for the next token: click one, and it is written. What was chosen can be undone, and another way tried.

import { html, nothing } from "../vendor/lit-html.js";
import { computed, signal } from "../vendor/signals-core.js";
import { t } from "../app/i18n.js";
import { ask, askTrace, ids, live, model, tensor, tokens, trace } from "../app/model.js";
import { distribution, ranked, softmax } from "../app/sampling.js";
import { go, goMore, state } from "../app/state.js";
import { numeral, percent, select } from "../draw/numbers.js";

export const play = { id: "play", draw };

const SHOWN = 10;
const branches = signal([]); // texts that were left: arrays of ids

const logits = computed(() => trace.value && tensor(select("logits", ids.value.length - 1, ":"))?.data);
const order = computed(() => logits.value && ranked(logits.value));
const likely = computed(() => logits.value && softmax(logits.value));

const settings = computed(() => {
  const { t: temperature, k, p } = state.value.more, within = (text, least, most, usual) => {
    const value = Number(text);
    return text !== undefined && value >= least && value <= most ? value : usual;
  };
  return { temperature: within(temperature, 0, 5, 1), topK: Math.round(within(k, 0, 1e6, 40)), topP: within(p, 0.001, 1, 1) };
});

const kept = computed(() => logits.value && distribution(logits.value, order.value, settings.value));

function draw() {
  if (!logits.value) return html`<p>${t("loading")}</p>`;
  return html`<div class="two">${candidates()}${sliders()}</div>${history()}${surprise()}`;
}

function candidates() {
  const words = ask("vocabulary")?.tokens;
  const kept_ = new Map(kept.value.ids.map((id, i) => [id, kept.value.probabilities[i]]));
  const largest = likely.value[order.value[0]];
  return html`<section aria-labelledby="candidates"><h2 id="candidates">${t("play.candidates")}</h2>
    <ol class="candidates">${Array.from(order.value.subarray(0, SHOWN), (id, i) => html`
      <li class=${kept_.has(id) ? "" : "cut"}><button type="button" ?disabled=${!live()} @click=${() => append(id)} accesskey=${(i + 1) % 10}>
        <span class="token">${words?.[id] ?? `#${id}`}</span>
        <meter min="0" max="1" value=${likely.value[id] / largest} aria-hidden="true"></meter>
        ${numeral(percent(likely.value[id]), "probs", [ids.value.length - 1, id])}
        ${numeral(logits.value[id].toFixed(2), "logits", [ids.value.length - 1, id])}
      </button></li>`)}</ol>
    <p class="note">${t("play.kept", { n: kept.value.ids.length, all: logits.value.length })}</p></section>`;
}

function sliders() {
  const { temperature, topK, topP } = settings.value, words = ask("vocabulary")?.tokens;
  const slider = (name, key, value, min, max, step) => html`<label class="slider">${t(name)} <output>${value}</output>
    <input type="range" min=${min} max=${max} step=${step} .value=${String(value)} @input=${(event) => goMore({ [key]: event.target.value })}></label>`;
  return html`<section aria-labelledby="settings"><h2 id="settings">${t("play.settings")}</h2>
    ${slider("play.temperature", "t", temperature, 0, 2, 0.05)}
    ${slider("play.topk", "k", topK, 0, 200, 1)}
    ${slider("play.topp", "p", topP, 0.05, 1, 0.01)}
    <h3>${t("play.drawn")}</h3>
    <ul class="bars">${kept.value.ids.slice(0, SHOWN).map((id, i) => html`<li><span class="token">${words?.[id] ?? `#${id}`}</span>
      <meter min="0" max="1" value=${kept.value.probabilities[i] / kept.value.probabilities[0]} aria-hidden="true"></meter>
      <span class="number" data-tensor="distribution(logits[${ids.value.length - 1}])" data-index=${id}>${percent(kept.value.probabilities[i])}</span></li>`)}</ul></section>`;
}

function append(id) {
  if (ids.value.length >= model.value.config.n_ctx) return;
  go({ ids: [...ids.value, id], position: -1 });
}

function remember() {
  const now = ids.value.join();
  if (!branches.peek().some((branch) => branch.join() === now)) branches.value = [...branches.peek(), ids.value].slice(-12);
}

function undo() {
  remember();
  go({ ids: ids.value.slice(0, -1), position: -1 });
}

function history() {
  const words = ask("vocabulary")?.tokens;
  return html`<section aria-labelledby="ways"><h2 id="ways">${t("play.ways")}</h2>
    <p><button type="button" ?disabled=${ids.value.length < 2 || !live()} @click=${undo}>${t("play.undo")}</button>
    <button type="button" @click=${remember}>${t("play.keep")}</button></p>
    ${branches.value.length ? html`<ul class="branches">${branches.value.map((branch) => html`<li>
      <button type="button" class="quiet" ?disabled=${!live()} @click=${() => go({ ids: branch, position: -1 })}>
        ${branch.slice(-12).map((id) => words?.[id] ?? `#${id}`).join("")}</button></li>`)}</ul>` : nothing}</section>`;
}

/** How much each token surprised the model, in nats. */
function surprise() {
  const names = tokens.value;
  if (names.length < 2) return nothing;
  const found = askTrace("surprise")?.nats;
  if (!found) return nothing;
  const largest = Math.max(...found, 1);
  return html`<section aria-labelledby="surprise"><h2 id="surprise">${t("play.surprise")}</h2>
    <p class="note">${t("play.surprise.note")}</p><ol class="surprise">${names.slice(1).map((token, i) => html`
      <li><span class="token">${token.text}</span>
      <meter min="0" max="1" value=${found[i] / largest} aria-hidden="true"></meter>
      <span class="number" data-tensor="-log probs" data-index="${i},${token.id}">${found[i].toFixed(2)}</span></li>`)}</ol></section>`;
}
