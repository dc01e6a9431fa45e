// A piece of music: generated, played, and what the heads look at from a note, as arcs on the piano roll.

import { html, nothing } from "../vendor/lit-html.js";
import { effect, signal } from "../vendor/signals-core.js";
import { percent } from "../lib/format.js";
import { lateEnds, onNotes, pitchName } from "../lib/pitches.js";
import { t } from "../state/i18n.js";
import { go, goMore, ownNumber, ownSetting, state } from "../state/navigation.js";
import { askTrace, chosen, generate, ids, isFree, labels, live, model, report, tensor, trace } from "../state/session.js";
import { MOST_SEED, chooseLayer, chooseSeed, slider } from "../ui/controls.js";
import { numeral } from "../ui/numeral.js";
import { headKey, pianoRoll } from "../ui/piano-roll.js";
import { play, playing, stop } from "../ui/synthesizer.js";
import { keep, scrolling, waiting } from "../ui/widgets.js";

export const music = { id: "music", group: "try", isPlaced: true, draw, attempt, isOffered: () => model.value.music !== null };

const LISTED = 3; // notes of a head
const writing = signal(null); // {count, request} while a piece is generated
const isCalm = matchMedia("(prefers-reduced-motion: reduce)");

/** What the model reads as music: {notes, owners, times}. Undefined until it arrives. */
const reading = () => (model.value.music ? askTrace("notes") : undefined);

/** The late peak, as in the article; where that is chosen, the late low. */
function attempt() {
  const found = reading();
  if (!found?.notes.length) return null;
  const ends = lateEnds(found.notes).map((note) => ({ note, position: found.owners.indexOf(note) }));
  const other = ends.find(({ position }) => position !== chosen.value.position);
  if (!other) return null;
  const [onset, , pitch] = found.notes[other.note];
  return { words: { note: pitchName(pitch), seconds: onset.toFixed(2) }, change: { position: other.position, layer: layerOf(), more: { ...state.value.more } } };
}

/** Where nobody has chosen a token, at first and after a new piece, the late peak is chosen. */
effect(() => {
  const { view, position, ids: wanted, layer } = state.value;
  if (view !== "music" || position >= 0 || !trace.value || !live() || String(wanted) !== String(ids.value)) return;
  const found = reading();
  if (found?.notes.length) go({ position: found.owners.indexOf(lateEnds(found.notes)[0]), layer: layer ?? layerOf() }, { replace: true });
});

/** A layer in the middle, where heads look far. */
const layerOf = () => Math.floor(model.value.config.n_layer / 2);

function draw() {
  if (!music.isOffered()) return html`<p class="note">${t("music.absent")}</p><p><code>cutaway explore --model builtin-piano</code></p>`;
  const found = reading();
  if (!found) return waiting();
  return html`${live() ? writer() : nothing}${player(found)}${keep("music.attention", () => attention(found))}`;
}

/** Settings, and what writes a piece. */
function writer() {
  const room = model.value.config.n_ctx - 1;
  const usual = Math.min(room, 256);
  const count = Math.max(1, ownNumber("n", room + 1, usual));
  const seed = ownNumber("seed", MOST_SEED, 1);
  const { temperature, topP } = settings();
  const isBusy = writing.value !== null;
  const isChanged = state.value.changes.length > 0;
  const begin = [model.value.music.bos];
  return html`<section aria-labelledby="music-write" class="music-write"><h2 id="music-write">${t("music.write")}</h2>
    <div class="choices">${slider("play.temperature", "t", temperature, 0, 2, 0.05)}${slider("play.topp", "p", topP, 0.05, 1, 0.01)}
      ${slider("music.events", "n", count, 1, room, 1)}
      ${chooseSeed(seed)}</div>
    <p class="buttons"><button type="button" aria-disabled=${isBusy} ?disabled=${isChanged} @click=${() => write(begin, count, seed)}>${t("music.new")}</button>
      <button type="button" aria-disabled=${isBusy} ?disabled=${isChanged || ids.value.length > room} @click=${() => write(ids.value, count, seed)}>${t("music.continue")}</button>
      ${isBusy ? html`<button type="button" class="quiet" @click=${() => writing.value.request.abort()}>${t("cancel")}</button>` : nothing}
      <small role="status">${isBusy ? t("loading") : isChanged ? t("play.unchanged") : nothing}</small>
      <small>${isBusy ? t("music.writing", { n: writing.value.count }) : isChanged ? nothing : t("music.grammar")}</small></p></section>`;
}

const settings = () => ({ temperature: ownSetting("t", 0, 5, 1), topP: ownSetting("p", 0.001, 1, 0.98) });

/** Generate after a beginning, as far as the context goes, and make it the piece; what was written is kept if it is stopped. */
async function write(before, count, seed) {
  if (writing.peek()) return; // the buttons keep the focus
  stop();
  const request = new AbortController();
  const piece = [...before];
  const { temperature, topP } = settings();
  writing.value = { count: 0, request };
  try {
    const most = Math.min(count, model.value.config.n_ctx - before.length);
    for await (const { id } of generate({ ids: before, max_new_tokens: most, temperature, top_k: 0, top_p: topP, seed }, request.signal)) {
      if (id === undefined) continue; // the last line, which says why it ended
      piece.push(id);
      writing.value = { count: piece.length - before.length, request };
    }
  } catch (error) {
    report(error);
  }
  writing.value = null;
  if (piece.length > before.length) go({ ids: piece, position: -1, more: { ...state.peek().more, seed: String((seed + 1) % MOST_SEED) } });
}

function player({ notes, times }) {
  const isPlaying = playing.value > 0;
  const at = times[chosen.value.position];
  const last = Math.max(0, ...notes.map(([, offset]) => offset));
  const isOver = !notes.some(([onset]) => onset >= at);
  const begin = (start) => play(notes, start, showTime);
  return html`<section aria-labelledby="music-piece"><h2 id="music-piece">${t("music.piece", { n: notes.length, seconds: last.toFixed(1) })}</h2>
    <p class="buttons"><button type="button" aria-pressed=${String(isPlaying)} ?disabled=${!notes.length} @click=${() => (isPlaying ? stop() : begin(0))}>${isPlaying ? `■ ${t("cancel")}` : `▶ ${t("player.play")}`}</button>
      <button type="button" class="quiet" ?disabled=${isOver} @click=${() => begin(at)}>${t("music.from", { seconds: at.toFixed(2) })}</button>
      <small>${t("music.synthesizer")}</small></p></section>`;
}

/** Move the line that says what is heard; gone with null, and still for who wants no motion. */
function showTime(seconds) {
  const line = document.querySelector("main .playhead");
  if (!line || isCalm.matches) return;
  line.classList.toggle("moving", seconds !== null);
  line.style.transform = `translateX(${Math.max(0, seconds ?? 0) * Number(line.dataset.scale)}px)`;
}

const hidden = () => new Set((state.value.more.without ?? "").split(",").filter(Boolean).map(Number));

/** The roll with the arcs of the heads that are shown, and what each gives to its heaviest notes. */
function attention({ notes, owners, times }) {
  const { layer, position } = chosen.value;
  const found = tensor(`attn.${layer}[:,${position},:]`);
  if (!found) return waiting();
  const [n_head, n_tokens] = found.shape;
  const isHidden = hidden();
  const heads = Array.from({ length: n_head }, (_, head) => ({ head, ...onNotes(found.data.subarray(head * n_tokens, head * n_tokens + position + 1), owners) }));
  const arcs = heads.filter(({ head }) => !isHidden.has(head)).flatMap(({ head, sums }) => [...sums].map(([note, sum]) => ({ head, note, weight: sum.weight, ...source(layer, head, position, sum.tokens) })));
  const pick = isFree() && ((note) => go({ position: owners.indexOf(note) }, { replace: true }));
  const place = { token: labels.value[position], n: position, seconds: times[position].toFixed(2), layer };
  return html`<section aria-labelledby="music-attention"><h2 id="music-attention">${t("music.attention", place)}</h2>
    <p class="note">${t("music.attention.note")}</p><div class="choices">${chooseLayer()}${legend(n_head, isHidden)}</div>
    ${pianoRoll({ title: t("music.roll"), notes, seconds: times[position], query: owners[position], arcs, pick })}
    ${pick ? nothing : html`<p class="note">${t("music.saved")}</p>`}
    ${table(heads, notes, layer, position)}</section>`;
}

/** Where the weight of a head on a note is from: one number, or a sum of several. */
const source = (layer, head, query, tokens) => (tokens.length === 1
  ? { tensor: `attn.${layer}`, index: [head, query, tokens[0]] } : { tensor: `sum(attn.${layer}[${head},${query},[${tokens.join(",")}]])`, index: [] });

const legend = (n_head, isHidden) => html`<fieldset class="music-heads"><legend>${t("music.heads")}</legend>${Array.from({ length: n_head }, (_, head) => html`<label class="choice">
  <input type="checkbox" aria-label=${t("music.head", { head })} .checked=${!isHidden.has(head)} @change=${() => toggle(head, isHidden)}>${headKey(head)} ${head}</label>`)}</fieldset>`;

function toggle(head, isHidden) {
  const next = new Set(isHidden);
  if (!next.delete(head)) next.add(head);
  goMore({ without: next.size ? [...next].sort((a, b) => a - b).join(",") : null });
}

/** For each head its heaviest notes, the weight on all notes, and the rest: together 1. */
function table(heads, notes, layer, position) {
  return scrolling(t("music.table"), html`<table class="music-table"><caption>${t("music.table")}</caption>
    <thead><tr><th scope="col">${t("head")}</th><th scope="col">${t("music.heaviest")}</th><th scope="col" class="right">${t("music.on")}</th><th scope="col" class="right">${t("music.elsewhere")}</th></tr></thead>
    <tbody>${heads.map(({ head, sums, rest }) => {
      const all = [...sums].sort(([, a], [, b]) => b.weight - a.weight);
      const on = all.reduce((sum, [, { weight }]) => sum + weight, 0);
      const row = `attn.${layer}[${head},${position}]`;
      return html`<tr><th scope="row">${headKey(head)} ${head}</th>
        <td>${all.slice(0, LISTED).map(([note, { weight, tokens }]) => {
          const { tensor: name, index } = source(layer, head, position, tokens);
          return html`<span class="music-link">${pitchName(notes[note][2])} ${notes[note][0].toFixed(2)} s ${numeral(percent(weight, 1), name, index)}</span>`;
        })}</td>
        <td class="right">${numeral(percent(on, 1), `sum(${row} on notes)`, [])}</td>
        <td class="right">${numeral(percent(rest, 1), `sum(${row} elsewhere)`, [])}</td></tr>`;
    })}</tbody></table>`);
}
