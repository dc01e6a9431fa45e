// Ten candidates for the next token: click one, and it is written; or have one drawn. What was chosen can be undone, and
// another way tried.

import { html, nothing } from "../vendor/lit-html.js";
import { computed, effect, signal } from "../vendor/signals-core.js";
import { tree } from "../lib/branches.js";
import { select } from "../lib/cells.js";
import { share } from "../lib/format.js";
import { distribution } from "../lib/sampling.js";
import { likely, word } from "../state/candidates.js";
import { t } from "../state/i18n.js";
import { go, goMore, ownNumber, state } from "../state/navigation.js";
import { askTrace, generate, ids, isFull, live, model, progress, report, tensor, tokens, trace } from "../state/session.js";
import { likelyList } from "../ui/candidates.js";
import { numeral } from "../ui/numeral.js";
import { keep, meter, waiting } from "../ui/widgets.js";

export const play = { id: "play", group: "start", draw, attempt };

const SHOWN = 10; // candidates
const MOST_WAYS = 12; // that are kept
const MOST_TOKENS = 12; // of a branch, its last
const MOST_SEED = 2 ** 31;

const ways = signal([]); // texts that were left: arrays of ids
const drawn = signal(null); // {ids, seed, id} of the last draw: the text that came of it

const logits = computed(() => trace.value && tensor(select("logits", ids.value.length - 1, ":"))?.data);

const settings = computed(() => {
  const { t: temperature, k, p } = state.value.more;
  const within = (text, least, most, usual) => {
    const value = Number(text);
    return text !== undefined && value >= least && value <= most ? value : usual;
  };
  return { temperature: within(temperature, 0, 5, 1), topK: Math.round(within(k, 0, 1e6, 40)), topP: within(p, 0.001, 1, 1) };
});

const kept = computed(() => logits.value && distribution(logits.value, likely(logits.value).order, settings.value));

function attempt() {
  return { change: { more: { ...state.value.more, t: 0 } } };
}

function draw() {
  if (!logits.value) return waiting();
  return html`<div class="two">${candidates()}${sliders()}</div>${history()}${keep("play.surprisal", surprisal)}`;
}

function candidates() {
  const { order, probabilities } = likely(logits.value);
  const drawable = new Set(kept.value.ids);
  const at = ids.value.length - 1;
  return html`<section aria-labelledby="candidates"><h2 id="candidates">${t("play.candidates")}</h2>
    <p class="candidates columns" aria-hidden="true"><span>${t("play.token")}</span><span></span><span>${t("play.probability")}</span><span>logit</span></p>
    <ol class="candidates" @keydown=${(event) => pickByKey(event, order)}>${Array.from(order.subarray(0, SHOWN), (id) => html`
      <li class=${drawable.has(id) ? "" : "cut"}><button type="button" ?disabled=${!live()} @click=${() => append(id)}>
        <span class="token">${word(id)}</span>
        ${meter(probabilities[id], probabilities[order[0]])}
        ${numeral(share(probabilities[id]), "probs", [at, id])}
        ${numeral(logits.value[id].toFixed(2), "logits", [at, id])}
      </button></li>`)}</ol>
    <p class="note">${t("play.keys")} ${t("play.kept", { n: drawable.size.toLocaleString("en"), all: logits.value.length.toLocaleString("en") })}</p></section>`;
}

/** 1 to 9 and 0 take the first to the tenth, where one of them has the focus. */
function pickByKey(event, order) {
  const place = "1234567890".indexOf(event.key);
  const isPlain = !event.ctrlKey && !event.altKey && !event.metaKey;
  if (place >= 0 && place < order.length && isPlain && live()) append(order[place]);
}

function sliders() {
  const { temperature, topK, topP } = settings.value;
  const top = kept.value.ids.slice(0, SHOWN);
  const slider = (name, key, value, min, max, step) => html`<label class="slider">${t(name)} <output class="number">${value}</output>
    <input type="range" min=${min} max=${max} step=${step} .value=${String(value)} @input=${(event) => goMore({ [key]: event.target.value })}></label>`;
  return html`<section aria-labelledby="settings"><h2 id="settings">${t("play.settings")}</h2>
    ${slider("play.temperature", "t", temperature, 0, 2, 0.05)}
    ${slider("play.topk", "k", topK, 0, 200, 1)}
    ${slider("play.topp", "p", topP, 0.05, 1, 0.01)}
    <h3>${t("play.drawn")}</h3>
    ${likelyList(top.map((id, i) => ({ id, probability: kept.value.probabilities[i] })), "distribution(logits)", ids.value.length - 1)}${lot()}</section>`;
}

/** One token drawn by Python with these settings and a seed; the next draw has the next seed. */
function lot() {
  if (!live()) return nothing;
  const seed = ownNumber("seed", MOST_SEED, 0);
  const isChanged = state.value.changes.length > 0;
  return html`<p class="choices"><label class="choice">${t("play.seed")} <input type="number" min="0" max=${MOST_SEED - 1} .value=${String(seed)}
      @change=${(event) => goMore({ seed: event.target.value })}></label>
    <button type="button" ?disabled=${isChanged || isFull()} @click=${() => drawOne(seed)}>${t("play.draw")}</button></p>
    <p class="note" role="status">${isChanged ? t("play.unchanged") : lastDraw() ?? t("play.seed.note")}</p>`;
}

/** What was drawn, as long as it is the last token. */
function lastDraw() {
  const { ids: text, seed, id } = drawn.value ?? {};
  return String(text) === String(ids.value) ? html`${t("play.said", { seed })} <span class="token">${word(id)}</span>` : null;
}

async function drawOne(seed) {
  if (progress.peek()) return;
  const before = ids.peek();
  const { temperature, topK, topP } = settings.peek();
  try {
    for await (const { id } of generate({ ids: before, max_new_tokens: 1, temperature, top_k: topK, top_p: topP, seed })) {
      if (id === undefined) continue; // the last line, which says why it ended
      drawn.value = { ids: [...before, id], seed, id };
      go({ ids: drawn.value.ids, position: -1, more: { ...state.peek().more, seed: (seed + 1) % MOST_SEED } });
    }
  } catch (error) {
    report(error);
  }
}

function append(id) {
  if (!isFull()) go({ ids: [...ids.value, id], position: -1 });
}

const begins = (text, beginning) => beginning.every((id, i) => id === text[i]);

function keepWay(text) {
  if (!ways.peek().some((way) => String(way) === String(text))) ways.value = [...ways.peek(), text].slice(-MOST_WAYS);
}

let last = [];

/** A text that is left without going on from it is a way that was tried; what it goes through on the way back is none. */
effect(() => {
  const now = ids.value;
  if (now.length && !begins(now, last) && !ways.peek().some((way) => begins(way, last))) keepWay(last);
  last = now;
});

const undo = () => go({ ids: ids.value.slice(0, -1), position: -1 });

/** The texts that were kept, as a tree: what they begin with in common stands there once. */
function history() {
  return html`<section aria-labelledby="ways"><h2 id="ways">${t("play.ways")}</h2>
    <p class="buttons"><button type="button" ?disabled=${ids.value.length < 2 || !live()} @click=${undo}>${t("play.undo")}</button>
    <button type="button" @click=${() => keepWay(ids.value)}>${t("play.keep")}</button></p>
    ${ways.value.length ? branches(tree(ways.value), []) : nothing}</section>`;
}

const branches = (nodes, before) => html`<ul class="ways">${nodes.map((node) => {
  const text = [...before, ...node.ids];
  const hidden = node.ids.length > MOST_TOKENS;
  return html`<li><button type="button" class="quiet token" ?disabled=${!live()} aria-current=${String(text) === String(ids.value) ? "true" : nothing}
      @click=${() => go({ ids: text, position: -1 })}>${hidden ? "… " : ""}${node.ids.slice(-MOST_TOKENS).map(word).join("")}</button>
    ${node.kept ? html`<small>${t("play.way", { n: text.length })}</small>` : nothing}
    ${node.below.length ? branches(node.below, text) : nothing}</li>`;
})}</ul>`;

/** The surprisal of each token, in nats. */
function surprisal() {
  const { n_vocab } = model.value.config;
  const found = tokens.value.length > 1 && askTrace("surprisal")?.nats;
  if (!found) return nothing;
  const largest = Math.max(...found, 1);
  return html`<section aria-labelledby="surprisal"><h2 id="surprisal">${t("play.surprisal")}</h2>
    <p class="note">${t("play.surprisal.note", { guess: Math.log(n_vocab).toFixed(1), n: n_vocab.toLocaleString("en") })}</p>
    <ol class="surprisal">${tokens.value.slice(1).map(({ id, text }, i) => html`<li><span class="token">${text}</span>
      ${meter(found[i], largest)}${numeral(found[i]?.toFixed(2) ?? "∞", "-log probs", [i, id])}</li>`)}</ol></section>`;
}
