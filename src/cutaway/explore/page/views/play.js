// Ten candidates for the next token: click one, and it is written; or have one drawn. What was chosen can be undone, and
// another way tried.

import { html, nothing } from "../vendor/lit-html.js";
import { computed, effect, signal } from "../vendor/signals-core.js";
import { tree } from "../lib/branches.js";
import { grouped, minus, share } from "../lib/format.js";
import { distribution } from "../lib/sampling.js";
import { likely, logits, word } from "../state/candidates.js";
import { gap, t } from "../state/i18n.js";
import { recall, remember } from "../state/memory.js";
import { go, ownNumber, ownSetting, state } from "../state/navigation.js";
import { askTrace, generate, ids, isFree, isFull, labels, live, model, position, progress, report, tokens } from "../state/session.js";
import { surprisal } from "../state/surprisal.js";
import { likelyList } from "../ui/candidates.js";
import { MOST_SEED, chooseSeed, slider } from "../ui/controls.js";
import { numeral } from "../ui/numeral.js";
import { tokenList } from "../ui/token-list.js";
import { keep, meter, waiting } from "../ui/widgets.js";

export const play = { id: "play", group: "start", draw, attempt };

const SHOWN = 10; // candidates
const MOST_WAYS = 12; // that are kept
const MOST_TOKENS = 12; // of a branch, its last

const ways = signal([]); // texts that were left: arrays of ids
const drawn = signal(null); // {ids, seed, id} of the last draw: the text that came of it

const settings = computed(() => {
  return { temperature: ownSetting("t", 0, 5, 1), topK: Math.round(ownSetting("k", 0, 1e6, 40)), topP: ownSetting("p", 0.001, 1, 1) };
});

let last = {}; // the last distribution, and of what

/** The distribution that these settings make of scores. */
function kept(scores) {
  if (last.scores !== scores || last.settings !== settings.value) last = { scores, settings: settings.value, ...distribution(scores, likely(scores).order, settings.value) };
  return last;
}

const isAtEnd = () => position.value === ids.value.length - 1;

function attempt() {
  return { change: { more: { ...state.value.more, t: 0 } } };
}

/** What a file has: the ten likeliest tokens after each token, and what surprised the model. */
function recorded() {
  const at = position.value;
  const top = askTrace(`next_tokens?position=${at}&k=${Math.min(SHOWN, model.value.config.n_vocab)}`)?.candidates;
  if (!top) return waiting();
  const came = ids.value[at + 1];
  return html`<section aria-labelledby="candidates">${heading()}
    ${likelyList(top, "probs", at, new Set([came]))}</section>${keep("play.surprisal", surprises)}`;
}

const heading = () => html`<h2 id="candidates">${isAtEnd() ? t("play.candidates") : t("play.candidates.after", { token: labels.value[position.value] })}</h2>`;

function draw() {
  if (!live()) return recorded();
  const scores = logits();
  word(0); // asked for together with the scores, and not when they are there
  if (!scores) return waiting();
  return html`<div class="two play">${candidates(scores)}${sliders()}</div>${keep("play.surprisal", surprises)}${history()}`;
}

function candidates(scores) {
  const { order, probabilities } = likely(scores);
  const { ids: drawable, probabilities: chances } = kept(scores);
  const chance = new Map(drawable.map((id, i) => [id, chances[i]]));
  const at = position.value;
  const came = ids.value[at + 1];
  const top = Array.from(order.subarray(0, SHOWN));
  const listed = came === undefined || top.includes(came) ? top : [...top, came];
  const rest = 1 - listed.reduce((sum, id) => sum + probabilities[id], 0);
  return html`<section aria-labelledby="candidates">${heading()}
    <p class="candidates columns" aria-hidden="true"><span>${t("attention.word")}</span><span>0–100 %</span><span class="first">${t("play.probability")}</span><span class="second">${t("play.chance")}</span></p>
    <ol class="candidates" @keydown=${(event) => pickByKey(event, order)}>${listed.map((id) => html`
      <li class="${chance.has(id) ? "" : "cut"} ${id === came ? "came" : ""}"><button type="button" ?disabled=${!live() || isFull()} @click=${() => append(id)}
        title="logit ${minus(scores[id].toFixed(2))}">
        <span class="token">${word(id)}${id === came ? html` <small>${t("play.came", { rank: rankOf(order, id) })}</small>` : nothing}</span>
        <span class="pair">${meter(probabilities[id])}${meter(chance.get(id) ?? 0)}</span>
        ${numeral(share(probabilities[id]), "probs", [at, id])}
        ${numeral(chance.has(id) ? share(chance.get(id)) : "–", "distribution(logits)", [at, id])}
      </button></li>`)}</ol>
    <p class="candidates columns rest"><span>${t("play.rest", { n: scores.length - listed.length })}</span>${meter(rest)}<span>${share(Math.max(0, rest))}</span></p>
    <p class="note">${isFull() ? html`<b>${t("play.full", { n: ids.value.length })}</b>` : nothing}
      ${isAtEnd() ? nothing : t("play.from", { token: labels.value[at] }) + gap()}${t("play.keys")}${gap()}${t("play.kept", { n: drawable.length, all: scores.length })}</p></section>`;
}

const rankOf = (order, id) => order.indexOf(id) + 1;

/** 1 to 9 and 0 take the first to the tenth, where one of them has the focus. */
function pickByKey(event, order) {
  const place = "1234567890".indexOf(event.key);
  const isPlain = !event.ctrlKey && !event.altKey && !event.metaKey;
  if (place >= 0 && place < order.length && isPlain && live()) append(order[place]);
}

function sliders() {
  const { temperature, topK, topP } = settings.value;
  return html`<section aria-labelledby="settings"><h2 id="settings">${t("play.settings")}</h2>
    ${slider("play.temperature", "t", temperature, 0, 2, 0.05)}
    ${slider("play.topk", "k", topK, 0, 200, 1)}
    ${slider("play.topp", "p", topP, 0.05, 1, 0.01)}
    ${lot()}</section>`;
}

/** One token drawn by Python with these settings and a seed; the next draw has the next seed. */
function lot() {
  if (!live()) return nothing;
  const seed = ownNumber("seed", MOST_SEED, 0);
  const isChanged = state.value.changes.length > 0;
  return html`<p class="choices">${chooseSeed(seed)}
    <button type="button" ?disabled=${isChanged || isFull()} @click=${() => drawOne(seed)}>${t("play.draw")}</button></p>
    <p class="note" role="status">${isChanged ? t("play.unchanged") : lastDraw() ?? t("play.seed.note")}</p>`;
}

/** What was drawn, as long as it is the last token. */
function lastDraw() {
  const { ids: text, seed, id } = drawn.value ?? {};
  return String(text) === String(ids.value) ? html`${t("play.said", { seed: String(seed) })} <span class="token">${word(id)}</span>` : null;
}

async function drawOne(seed) {
  if (progress.peek()) return;
  const before = ids.value.slice(0, position.value + 1);
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
  if (!isFull()) go({ ids: [...ids.value.slice(0, position.value + 1), id], position: -1 });
}

const begins = (text, beginning) => beginning.every((id, i) => id === text[i]);

function keepWay(text) {
  if (!ways.peek().some((way) => String(way) === String(text))) ways.value = [...ways.peek(), text].slice(-MOST_WAYS);
}

let before = [];

/** A text that is left without going on from it is a way that was tried; what it goes through on the way back is none. */
effect(() => {
  const now = ids.value;
  if (now.length && !begins(now, before) && !ways.peek().some((way) => begins(way, before))) keepWay(before);
  before = now;
});

let isRecalled = false;

/** The ways outlive a reload of the page. */
effect(() => {
  if (!model.value || !live()) return;
  const name = `ways ${model.value.name}`;
  if (!isRecalled) {
    isRecalled = true;
    ways.value = recall(name, []);
  }
  remember(name, ways.value);
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

/** The text, each token as dark as it surprised the model; press one to see what was expected instead. */
function surprises() {
  const { n_vocab } = model.value.config;
  const found = tokens.value.length > 1 && surprisal();
  if (!found) return nothing;
  const guess = Math.log(n_vocab);
  return html`<section aria-labelledby="surprisal"><h2 id="surprisal">${t("play.surprisal")}</h2>
    <p class="note">${t("play.surprisal.note", { guess: guess.toFixed(1), n: n_vocab })}</p>
    ${tokenList([tokens.value, isFree(), ...found], isAtEnd() ? -1 : position.value, () => html`<ol class="surprisal">${labels.value.slice(1).map((text, i) => html`<li><button type="button" aria-pressed="false" ?disabled=${!isFree()}
      .style=${`--heat: ${Math.round(100 * Math.min(1, (found[i] ?? guess) / guess))}%`} @click=${() => go({ position: i })}><span class="token">${text}</span>
      <small>${t("play.odds", { n: odds(found[i]) })}</small>
      ${numeral(found[i]?.toFixed(2) ?? "∞", "-log probs", [i, ids.value[i + 1]])}</button></li>`)}</ol>`)}</section>`;
}

/** "6,000" for 8.7 nats: how many equally likely tokens would surprise as much, in two digits. */
function odds(nats) {
  if (nats === null || nats === undefined) return "∞";
  const count = Math.exp(nats);
  return count < 10 ? count.toFixed(1) : grouped(Number(count.toPrecision(2)));
}
