// Tokenization step by step: bytes, pre-tokens, merges, ids.

import { html, nothing } from "../vendor/lit-html.js";
import { grouped } from "../lib/format.js";
import { together, written } from "../lib/graphemes.js";
import { states } from "../lib/merges.js";
import { t } from "../state/i18n.js";
import { go, goMore, ownNumber, state } from "../state/navigation.js";
import { ask, model, position as selected, text, tokens } from "../state/session.js";
import { numeral } from "../ui/numeral.js";
import { tokenList } from "../ui/token-list.js";
import { scrolling, waiting } from "../ui/widgets.js";

export const tokensView = { id: "tokens", group: "inside", draw, attempt };

const MOST = 64; // pre-tokens that are shown
const MOST_SYMBOLS = 64; // of a pre-token whose merges are shown: each takes a line as long as the pre-token

function attempt() {
  return model.value.has_tokenizer ? { change: { more: { text: " discombobulated robot", piece: 0 } } } : null;
}

function draw() {
  if (!model.value.has_tokenizer) return html`<p>${t("tokens.none", { codec: model.value.music?.codec, event: tokens.value.at(1)?.text ?? tokens.value[0].text })}</p>`;
  return html`${ids()}${vocabulary()}${pieces()}`;
}

function ids() {
  return html`<h2>${t("tokens.ids")}</h2><p class="note">${t("tokens.ids.note")}</p>
    ${tokenList([tokens.value], selected.value, () => html`<ol class="chips">${together(tokens.value.slice(0, 512)).map((group) => (group.length === 1 ? html`<li>${chip(group[0])}</li>` : html`
      <li class="together"><span>${written(group)}</span>${group.map(chip)}</li>`))}</ol>`)}`;
}

function chip([token, i]) {
  return html`<button type="button" aria-pressed="false" @click=${() => go({ position: i }, { replace: true })}>
    <span class="token">${token.text}</span>
    <span class="bytes">${token.bytes.map(hex).join(" ")}</span>
    ${numeral(grouped(token.id), "ids", [i])}</button>`;
}

const hex = (byte) => byte.toString(16).padStart(2, "0");

/** Vocabulary size by origin; models may have more rows than their tokenizer has tokens. */
function vocabulary() {
  const { config, vocabulary } = model.value;
  const n = config.n_vocab;
  if (!vocabulary) return html`<p class="note">${t("tokens.other", { n })}</p>`;
  const { bytes, merges, special } = vocabulary;
  const isAll = bytes + merges + special === config.n_vocab;
  return html`<p class="note">${t(isAll ? "tokens.sum" : "tokens.size", { n, bytes, merges, special })}</p>`;
}

/** BPE of the text, or of one that is typed in. */
function pieces() {
  const { max_text: most } = model.value;
  const read = state.value.more.text ?? [...text.value].slice(0, most).join("");
  const found = ask(`tokens?${new URLSearchParams({ text: read })}`)?.pieces;
  return html`<h2>${t("tokens.pieces")}</h2><p class="note">${t(model.value.vocabulary ? "tokens.pieces.note" : "tokens.words.note")}</p>
    <label class="wide">${t("tokens.text")} <textarea rows=${Math.min(6, read.split("\n").length)} maxlength=${most} spellcheck="false" .value=${read} @input=${(event) => goMore({ text: event.target.value, piece: null })}></textarea></label>
    ${found ? choosePiece(found.slice(0, MOST)) : waiting()}`;
}

function choosePiece(pieces) {
  const open = ownNumber("piece", pieces.length, 0);
  return html`<ol class="chips">${pieces.map((piece, i) => html`<li><button type="button" aria-pressed=${i === open}
      @click=${() => goMore({ piece: i })}><span class="token">${visible(piece.text)}</span><small>${t("tokens.count", { n: piece.ids.length })}</small></button></li>`)}</ol>
    ${pieces.length ? (pieces[open].steps ? merges : word)(pieces[open]) : nothing}`;
}

const visible = (text) => text.replaceAll(" ", "␣").replaceAll("\n", "\\n").replaceAll("\t", "\\t");

/** A word of a tokenizer that does not merge bytes: its tokens, as the vocabulary writes them, and their ids. */
function word({ text, tokens, ids }) {
  return html`<h3>${t("tokens.word", { piece: visible(text) })}</h3>${scrolling(t("tokens.pieces"), html`<table class="merges" aria-label=${t("tokens.pieces")}><tbody>
    <tr><th scope="row">${t("tokens.of")}</th><td>${tokens.map((token) => html`<span class="token symbol">${visible(token)}</span>`)}</td></tr>
    <tr><th scope="row">${t("tokens.result")}</th><td>${ids.map((id, i) => html`<span class="symbol">${numeral(grouped(id), "encode(text)", [i])}</span>`)}</td></tr>
  </tbody></table>`)}`;
}

function merges(piece) {
  const rows = piece.symbols.length > MOST_SYMBOLS ? [] : states(piece);
  return html`<h3>${t("tokens.merges", { piece: visible(piece.text) })}</h3>
    <p class="bytes">${t("tokens.bytes")}${piece.bytes.map(hex).join(" ")}</p>
    ${rows.length ? nothing : html`<p class="note">${t("tokens.long", { n: piece.symbols.length, most: MOST_SYMBOLS })}</p>`}
    ${scrolling(t("tokens.pieces"), html`<table class="merges" aria-label=${t("tokens.pieces")}><tbody>
      ${rows.map((symbols, i) => html`<tr><th scope="row">${i === 0 ? t("tokens.start") : t("tokens.merge", { n: i, rank: piece.steps[i - 1].rank })}</th>
        <td>${symbols.map((symbol) => html`<span class="token symbol">${symbol.replaceAll("Ġ", "␣").replaceAll("Ċ", "\\n")}</span>`)}</td></tr>`)}
      <tr><th scope="row">${t("tokens.result")}</th><td>${piece.ids.map((id, i) => html`<span class="symbol">${numeral(grouped(id), "encode(text)", [i])}</span>`)}</td></tr>
    </tbody></table>`)}`;
}
