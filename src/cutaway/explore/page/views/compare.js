// Two texts, or one text with and without the changes: the same numbers side by side, or their difference.

import { html, nothing } from "../vendor/lit-html.js";
import { areInForce } from "../app/changes.js";
import { choices } from "../app/controls.js";
import { divergence, leastDivergence } from "../app/divergence.js";
import { t } from "../app/i18n.js";
import { likeliest, likelyList, share } from "../app/likely.js";
import { chosen, ids, live, model, report, text, trace } from "../app/model.js";
import { askOf, other, readOther, tensorOf } from "../app/other.js";
import { go, goMore, state } from "../app/state.js";
import { grid } from "../draw/cell-grid.js";
import { cellsOf, indexOf, numeral, select } from "../draw/numbers.js";

export const compare = { id: "compare", draw };

const MOST_TOKENS = 96; // of each text that are listed
const READ = 100; // tokens of the lens at each boundary, the most that the server gives
const THRESHOLD = 0.1; // nats
const MATRICES = ["attn", "scores"], OF_HEADS = ["q", "k", "v", "z"];
const OF_TOKENS = ["resid.pre", "ln1", "attn_out", "resid.mid", "ln2", "mlp_act", "mlp_out", "resid.post"];

function draw() {
  if (!live()) return html`<p>${t("compare.live")}</p>`;
  const found = second();
  return html`${against()}${found && areInForce() ? html`${texts(found)}${next(found)}${layers(found)}${tensors(found)}` : nothing}`;
}

const mode = () => state.value.more.with ?? (state.value.changes.length ? "changes" : "text");

/** The second trace; undefined until it is there, null where none was asked for. */
function second() {
  if (mode() === "changes") return state.value.changes.length ? other({ ids: ids.value, interventions: [] }) : null;
  const wanted = state.value.more.ids;
  if (!/^\d+(,\d+)*$/.test(wanted ?? "")) return null;
  return other({ ids: wanted.split(",").map(Number), interventions: state.value.changes });
}

/** What the text is held against. */
function against() {
  const button = (name) => html`<button type="button" aria-pressed=${mode() === name} @click=${() => goMore({ with: name })}>${t(`compare.with.${name}`)}</button>`;
  return html`<p class="buttons">${button("text")}${button("changes")}</p>
    ${mode() === "text" ? form() : state.value.changes.length ? nothing : html`<p>${t("compare.nochanges")}
      <button type="button" class="quiet" @click=${() => go({ view: "whatif" })}>${t("whatif.title")}</button></p>`}`;
}

/** The second text: as text where the model reads text, else as ids. */
function form() {
  const readsText = model.value.has_tokenizer, given = second();
  const value = readsText ? (given ? written(given) : text.value) : (state.value.more.ids ?? ids.value.join(","));
  return html`<p class="note">${t("compare.text.note")}</p><form class="wide" @submit=${readSecond}>
    <label class="wide">${t(readsText ? "compare.text" : "compare.ids")} <input name="text" autocomplete="off" spellcheck="false" maxlength="20000" .value=${value}></label>
    <button>${t("compare.read")}</button></form>`;
}

function written(found) {
  const bytes = found.tokens.filter((token, i) => i > 0 || token.id !== model.value.end_of_text).flatMap((token) => token.bytes);
  return new TextDecoder().decode(Uint8Array.from(bytes));
}

async function readSecond(event) {
  event.preventDefault();
  const typed = new FormData(event.target).get("text"), interventions = state.peek().changes;
  if (!model.value.has_tokenizer) return goMore({ ids: typed.replaceAll(" ", "") });
  try {
    const found = await readOther({ text: typed, from_start: true, interventions }, "second");
    goMore({ with: "text", ids: found.ids.join(",") });
  } catch (error) {
    report(error);
  }
}

/** The tokens of both, those in bold that are not the same at the same position. */
function texts(found) {
  const line = (name, mine, theirs) => html`<div><dt>${name}</dt><dd class="tokens-line">${mine.tokens.slice(0, MOST_TOKENS).map((token, i) => html`
    <span class="token ${token.id === theirs.ids[i] ? "" : "differs"}">${token.text}</span>`)}${mine.tokens.length > MOST_TOKENS ? ` … ${mine.tokens.length}` : ""}</dd></div>`;
  const label = mode() === "changes" ? ["compare.changed", "compare.unchanged"] : ["compare.a", "compare.b"];
  return html`<dl class="sides">${line(t(label[0]), trace.value, found)}${line(t(label[1]), found, trace.value)}</dl>`;
}

/** The positions that are compared: the same from the start; the last of both where the last was chosen. */
function places(found) {
  const last = found.ids.length - 1, { position } = chosen.value;
  return [position, state.value.position < 0 ? last : Math.min(position, last)];
}

const ofB = (name) => `B: ${name}`;

/** The likeliest next tokens of both, and how far the two distributions are apart. */
function next(found) {
  const [mine, theirs] = places(found), a = tensorOf(trace.value.trace, select("logits", mine, ":"))?.data;
  const b = tensorOf(found.trace, select("logits", theirs, ":"))?.data;
  if (!a || !b) return waiting();
  const [topA, topB] = [likeliest(a), likeliest(b)], only = (these, those) => new Set(these.map((one) => one.id).filter((id) => !those.some((each) => each.id === id)));
  return html`<h2>${t("compare.next")}</h2>${choices(["position"])}
    <p class="note">${t("compare.next.note")}</p>
    <div class="two"><section><h3>A · ${t("place", { n: mine + 1, i: mine })}</h3>${likelyList(topA, "probs", mine, only(topA, topB))}</section>
      <section><h3>B · ${t("place", { n: theirs + 1, i: theirs })}</h3>${likelyList(topB, ofB("probs"), theirs, only(topB, topA))}</section></div>
    <p>KL(A ‖ B) = ${numeral(divergence(a, b).toFixed(4), "sum(probs * (log probs - log B: probs))", [mine])} ${t("compare.nats")}</p>`;
}

const waiting = () => html`<p>${t("loading")}</p>`;

/** Where the two first part ways: the raw logit lens of both at each boundary. */
function layers(found) {
  const [mine, theirs] = places(found), k = Math.min(READ, model.value.config.n_vocab);
  const lens = (id, position) => askOf(id, `lens?${new URLSearchParams({ position, k })}`)?.boundaries;
  const [a, b] = [lens(trace.value.trace, mine), lens(found.trace, theirs)];
  if (!a || !b) return html`<h2>${t("compare.layers")}</h2>${waiting()}`;
  const apart = a.map((boundary, i) => leastDivergence(boundary.top, b[i].top)), first = apart.findIndex((nats) => nats > threshold());
  return html`<h2>${t("compare.layers")}</h2><p class="note">${t(k < model.value.config.n_vocab ? "compare.layers.note" : "compare.layers.all", { k })}</p>
    <p><label class="choice">${t("compare.threshold")} <input type="number" min="0" step="0.05" .value=${String(threshold())}
      @input=${(event) => goMore({ kl: event.target.value })}></label></p>
    <p role="status">${first < 0 ? t("compare.nowhere") : html`${t("compare.first")} <b><code>${a[first].name}</code></b>: ${nats(apart[first], a[first].name, mine)}`}</p>
    <div class="scroll" tabindex="0" role="region" aria-label=${t("compare.layers")}><table class="lens">
      <thead><tr><th scope="col">${t("output.boundary")}</th><th scope="col">A</th><th scope="col">B</th><th scope="col">KL(A ‖ B) ${k < model.value.config.n_vocab ? "≥" : "="}</th></tr></thead>
      <tbody>${a.map(({ name, top }, i) => html`<tr class=${i === first ? "marked" : ""}><th scope="row"><code>${name}</code></th>
        <td>${said(top[0], name, mine)}</td><td>${said(b[i].top[0], ofB(name), theirs)}</td><td class="right">${nats(apart[i], name, mine)}</td></tr>`)}</tbody></table></div>`;
}

function threshold() {
  const nats = Number(state.value.more.kl ?? THRESHOLD);
  return nats >= 0 ? nats : THRESHOLD;
}

const nats = (value, boundary, position) => numeral(value.toFixed(4), `KL(lens(${boundary}) ‖ lens(${ofB(boundary)}))`, [position]);
const said = ({ id, text: shown, probability }, boundary, position) =>
  html`<span class="token">${shown}</span> ${numeral(share(probability), `lens(${boundary})`, [position, id])}`;

/** One tensor of both. */
function tensors(found) {
  const kinds = [...MATRICES, ...OF_HEADS, ...OF_TOKENS], kind = kinds.includes(state.value.more.tensor) ? state.value.more.tensor : "attn";
  const ofHeads = !OF_TOKENS.includes(kind), asDifference = state.value.more.difference === "1";
  const [mine, theirs] = places(found), a = part(trace.value, kind, mine, (name) => name), b = part(found, kind, theirs, ofB);
  return html`<h2>${t("compare.tensor")}</h2>
    <div class="choices"><label class="choice">${t("compare.which")} <select @change=${(event) => goMore({ tensor: event.target.value })}>
      ${kinds.map((each) => html`<option value=${each} ?selected=${each === kind}>${t(`compare.kind.${each}`)}</option>`)}</select></label>
      <label class="choice"><input type="checkbox" .checked=${asDifference} @change=${(event) => goMore({ difference: event.target.checked ? "1" : null })}> ${t("compare.difference")}</label></div>
    ${choices(ofHeads ? ["layer", "head"] : ["layer"])}
    ${!a || !b ? waiting() : asDifference ? difference(a, b, found) : html`<div class=${MATRICES.includes(kind) ? "two" : ""}>${shown("A", a, kind, trace.value)}${shown("B", b, kind, found)}</div>`}`;
}

/** A head's pattern, or a token's row, of either trace, under a name that says which. */
function part(found, kind, position, named) {
  const { layer, head } = chosen.value, { n_head } = model.value.config, count = found.ids.length, name = `${kind}.${layer}`;
  const places = MATRICES.includes(kind) ? [head, ":", ":"] : OF_HEADS.includes(kind) ? [head, position, ":"] : [position, ":"];
  const data = tensorOf(found.trace, select(name, ...places))?.data;
  if (!data) return undefined;
  if (MATRICES.includes(kind)) return cellsOf(named(name), [n_head, count, count], data, count, count, head * count * count);
  const wide = data.length, before = OF_HEADS.includes(kind) ? head * count + position : position;
  return cellsOf(named(name), OF_HEADS.includes(kind) ? [n_head, count, wide] : [count, wide], data, 1, wide, before * wide);
}

function shown(side, cells, kind, found) {
  const names = MATRICES.includes(kind) ? found.tokens.map((token) => token.text) : undefined;
  return grid({ title: `${side} · ${cells.tensor.replace("B: ", "")}`, cells, scale: kind === "attn" ? "share" : "signed",
    rowLabels: names, columnLabels: names, rowAxis: t("query"), columnAxis: t("key") });
}

/** A − B; of two patterns of different size the part that both have. */
function difference(a, b, found) {
  const rows = Math.min(a.rows, b.rows), columns = Math.min(a.columns, b.columns), values = new Float32Array(rows * columns);
  for (let i = 0; i < rows; i++) for (let j = 0; j < columns; j++) values[i * columns + j] = a.values[i * a.columns + j] - b.values[i * b.columns + j];
  const cells = { ...a, tensor: `${a.tensor} - ${b.tensor}`, values, rows, columns };
  const most = values.reduce((best, value, i) => (Math.abs(value) > Math.abs(values[best]) ? i : best), 0), at = [Math.floor(most / columns), most % columns];
  const names = a.rows > 1 || a.rows === a.columns ? trace.value.tokens.slice(0, rows).map((token, i) => (found.ids[i] === token.id ? token.text : `${token.text}|${found.tokens[i].text}`)) : undefined;
  return html`${grid({ title: `A − B · ${a.tensor}`, cells, scale: "signed", rowLabels: names, columnLabels: names, rowAxis: t("query"), columnAxis: t("key"), cursor: at })}
    <p>max |A − B| = ${numeral(Math.abs(values[most]).toPrecision(3), `abs(${cells.tensor})`, indexOf(cells, ...at))}
    ${a.rows === b.rows ? nothing : html`<span class="note">${t("compare.common", { n: rows })}</span>`}</p>`;
}
