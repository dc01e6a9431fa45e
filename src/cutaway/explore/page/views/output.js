// From the last hidden state to logits: ln_f, the output matrix, softmax; direct logit attribution and the logit lens.

import { html, nothing } from "../vendor/lit-html.js";
import { computedCells, largestAt } from "../lib/cells.js";
import { apart, grouped, share } from "../lib/format.js";
import { likely, logits, word } from "../state/candidates.js";
import { gap, t } from "../state/i18n.js";
import { goMore, ownNumber, state } from "../state/navigation.js";
import { ask, askTrace, labels, lens as lensOf, lensTokens, live, model, position as selected, trace } from "../state/session.js";
import { rowCells } from "../state/slices.js";
import { boundary } from "../ui/boundary.js";
import { signedGrid } from "../ui/cell-grid.js";
import { choices } from "../ui/controls.js";
import { numeral } from "../ui/numeral.js";
import { meter, scrolling, signedBar, waiting } from "../ui/widgets.js";

export const output = { id: "output", group: "inside", draw, attempt };

const SHOWN = 10; // candidates
const MOST_FOUND = 12; // tokens that a search shows

const matrixName = () => (model.value.config.tie_word_embeddings ? "wte.weight" : "lm_head.weight");

/** The token in second place. */
function attempt() {
  const scores = logits();
  const second = scores && likely(scores).order[1];
  return scores && { words: { token: word(second) }, change: { more: { ...state.value.more, token: second } } };
}

function draw() {
  const position = selected.value;
  if (!live()) return recorded(position);
  const scores = logits();
  if (!scores) return html`${choices(["position"])}${waiting()}`;
  const { order } = likely(scores);
  const [entry] = entries([Math.max(0, order.indexOf(ownNumber("token", scores.length, order[0])))], scores); // the selected token, or the most likely
  return html`${choices(["position"])}<div class="two"><div>${best(entries(order.subarray(0, SHOWN).keys(), scores), position, entry)}
    <section aria-labelledby="search"><h2 id="search">${t("output.search")}</h2>${search(scores, position, entry)}</section></div>
    <section>${parts(entry, position)}</section></div>${product(entry, position)}${lens(position, order[0])}`;
}

/** What a file has: the most likely tokens, and what each of their logits is made of. */
function recorded(position) {
  const top = askTrace(`next_tokens?position=${position}&k=${Math.min(SHOWN, model.value.config.n_vocab)}`)?.candidates;
  if (!top) return waiting();
  const ranked = top.map((each, rank) => ({ ...each, rank }));
  const entry = ranked.find(({ id }) => String(id) === state.value.more.token) ?? ranked[0];
  return html`${choices(["position"])}<div class="two">${best(ranked, position, entry)}<section>${parts(entry, position)}</section></div>${product(entry, position)}${lens(position, top[0].id)}`;
}

/** {id, text, rank, logit, probability} of the tokens of these ranks, from 0. */
function entries(ranks, logits) {
  const { order, probabilities } = likely(logits);
  return Array.from(ranks, (rank) => {
    const id = order[rank];
    return { id, text: word(id), rank, logit: logits[id], probability: probabilities[id] };
  });
}

/** The most likely tokens. */
const best = (found, position, entry) => html`<section aria-labelledby="top"><h2 id="top">${t("output.top", { token: labels.value[position] })}</h2>
    <p class="note">${t("output.softmax")}</p>${list(found, position, entry)}</section>`;

/** Tokens with probability and logit; `entry` is the selected one. */
function list(found, position, entry) {
  return html`<ol class="candidates ranked">${found.map(({ id, text, rank, logit, probability }) => html`<li>
    <button type="button" aria-pressed=${id === entry.id} @click=${() => goMore({ token: id })}>
      <small>${grouped(rank + 1)}.</small><span class="token">${text}</span>
      ${meter(probability)}
      ${numeral(share(probability), "probs", [position, id])}
      ${numeral(logit.toFixed(2), "logits", [position, id])}</button></li>`)}</ol>`;
}

function search(logits, position, entry) {
  const text = state.value.more.find ?? "";
  const { order } = likely(logits);
  const words = ask("vocabulary")?.tokens;
  const found = words && text ? [...order.keys()].filter((rank) => matches(words[order[rank]], order[rank], text)) : [];
  return html`<p class="note">${t("output.search.note", { n: logits.length })}</p>
    <label class="wide">${t("output.find")} <input spellcheck="false" autocomplete="off" .value=${text}
      @input=${(event) => goMore({ find: event.target.value || null })}></label>
    ${text && words ? html`<p role="status">${t("output.found", { n: found.length, shown: Math.min(found.length, MOST_FOUND) })}</p>
      ${list(entries(found.slice(0, MOST_FOUND), logits), position, entry)}` : nothing}`;
}

/** Match a token by its text, in which a space is ␣, or by its id, as "#11". */
function matches(shown, id, text) {
  return shown.toLowerCase().includes(text.replaceAll(" ", "␣").toLowerCase()) || text.replaceAll(",", "") === `#${id}`;
}

/** One logit as a dot product of the hidden state with the token's row of the output matrix. */
function product({ id, text, logit }, position) {
  const { n_vocab, n_embd, tie_word_embeddings } = model.value.config;
  const name = matrixName();
  const vector = rowCells("ln_f", position);
  const row = rowCells(name, id);
  return html`<h2>${t("output.product")}</h2>
    <p class="note">${t("output.matrix", { name, v: n_vocab, d: n_embd })}${gap()}${t(tie_word_embeddings ? "output.tied" : "output.untied")}</p>
    ${signedGrid(t("output.vector", { token: labels.value[position] }), vector)}
    <p class="sign" aria-hidden="true">·</p>
    ${signedGrid(t("output.row", { token: text, id }), row)}
    ${vector && row ? sums(vector, row, logit, position, id) : nothing}`;
}

function sums(vector, row, logit, position, token) {
  const sum = vector.values.reduce((total, value, i) => total + value * row.values[i], 0);
  return html`<p>${t("output.sum")}${numeral(sum.toFixed(4), `sum(ln_f * ${matrixName()})`, [position, token])}${t("sep.and")}<code>logits</code>${t("sep.colon")}${numeral(logit.toFixed(4), "logits", [position, token])}</p>`;
}

/** Direct logit attribution: what each component adds to a logit. */
function parts({ id: token, text, logit }, position) {
  const heading = html`<h2>${t("output.parts", { token: text })}</h2>`;
  const kinds = model.value.interventions;
  const spoilt = trace.value.interventions.find((change) => kinds[change.kind].breaks_sum || change.position === position); // patched here
  if (spoilt) return html`${heading}<p>${t("output.nosum", { kind: t(`whatif.kind.${spoilt.kind}`) })}</p>`;
  const found = askTrace(`direct_logit_attribution?${new URLSearchParams({ position, token })}`);
  if (!found) return html`${heading}${waiting()}`;
  const off = Math.abs(found.logit - logit);
  return html`${heading}<p class="note">${t("output.parts.note", { name: matrixName() })}</p>
    <p>${t("output.parts.sum")}${numeral(found.logit.toFixed(4), "sum(direct_logit_attribution)", [position, token])}${t("sep.and")}<code>logits</code>${t("sep.colon")}${numeral(logit.toFixed(4), "logits", [position, token])}${t("sep.and")}${t("output.off")}${numeral(apart(off), "sum(direct_logit_attribution) - logits", [position, token])}</p>
    ${signedBars(addends(found), position)}${heads(found)}`;
}

/** [name, value, formula] of each component, in the order of the forward pass. */
function addends(found) {
  const layers = found.mlp.flatMap((_, layer) => [
    [t("output.attention", { layer }), found.attention[layer], `attn_out.${layer} @ direction`],
    [t("output.mlp", { layer }), found.mlp[layer], `mlp_out.${layer} @ direction`],
  ]);
  return [[t("output.token"), found.token_embedding, "tok_emb @ direction"], [t("output.place"), found.position_embedding, "pos_emb @ direction"],
    ...layers, [t("output.bias"), found.final_bias, `ln_f.bias @ ${matrixName()}`]];
}

/** A bar for each component. */
function signedBars(rows, position) {
  const largest = Math.max(...rows.map(([, value]) => Math.abs(value))) || 1;
  return html`<ul class="bars parts">${rows.map(([name, value, formula]) => html`<li><span>${name}</span>
    ${signedBar(value, largest)}
    ${numeral(signed(value), formula, [position])}</li>`)}</ul>`;
}

const signed = (value) => `${value < 0 ? "" : "+"}${value.toFixed(3)}`;

/** (layers, heads); the last column is the bias of the projection, which no head owns. */
function heads(found) {
  const columns = found.heads[0].length + 1;
  const values = found.heads.flatMap((layer, l) => [...layer, found.attention_bias[l]]);
  const names = [...found.heads[0].map((_, head) => String(head)), t("output.projection")];
  return signedGrid(t("output.heads"), computedCells("(z @ attn.c_proj.weight) @ direction", values, columns), {
    rowLabels: found.heads.map((_, layer) => `${t("layer")} ${layer}`), columnLabels: names, columnAxis: t("head"), cursor: largestAt({ values, columns }),
  });
}

/** The logit lens at each boundary. */
function lens(position, final) {
  const k = lensTokens();
  const found = lensOf(position);
  return html`<h2>${t("output.lens")}</h2><p class="note">${t("output.lens.note")}</p>
    ${found ? scrolling(t("output.lens"), html`<table class="lens" aria-label=${t("output.lens")}>
      <thead><tr><th scope="col">${t("output.boundary")}</th>${Array.from({ length: k }, (_, i) => html`<th scope="col">${i + 1}.</th>`)}</tr></thead>
      <tbody>${found.map(({ name, top }) => html`<tr><th scope="row">${boundary(name)}</th>${top.map((entry) => reading(name, entry, position, final))}</tr>`)}</tbody>
    </table>`) : waiting()}`;
}

function reading(boundary, { id, text, probability }, position, final) {
  return html`<td class=${id === final ? "marked" : ""}><span class="token">${text}</span>
    ${numeral(share(probability), `softmax(ln_f(${boundary}) @ ${matrixName()}.T)`, [position, id])}</td>`;
}
