// Interventions: parts of the model ablated or changed, and the effect on the loss and the next token.

import { html, nothing } from "../vendor/lit-html.js";
import { signal } from "../vendor/signals-core.js";
import { changeToText } from "../lib/address.js";
import { select } from "../lib/cells.js";
import { fieldsOf } from "../lib/interventions.js";
import { divisorOf } from "../lib/mathematics.js";
import { telling } from "../lib/patterns.js";
import { typedIds } from "../lib/token-ids.js";
import { likeliest, onlyIn, word } from "../state/candidates.js";
import { areInForce, areWanted, describe, make, takeBack } from "../state/changes.js";
import { t } from "../state/i18n.js";
import { go, state } from "../state/navigation.js";
import { askOf, other, readOther, tensorOf } from "../state/second-trace.js";
import { chosen, ids, live, model, report, singledLink, text, trace, transport } from "../state/session.js";
import { likelyList } from "../ui/candidates.js";
import { choices, textBox } from "../ui/controls.js";
import { headMap } from "../ui/head-map.js";
import { numeral } from "../ui/numeral.js";
import { waiting } from "../ui/widgets.js";

export const whatif = { id: "whatif", group: "try", isPlaced: true, draw, attempt };

/** Common misconceptions, as the interventions that would make them true. */
const MYTHS = {
  values: [{ kind: "values_are_keys" }],
  queries: [{ kind: "previous_queries" }],
  zero: [{ kind: "mask_value", value: 0 }],
  thousands: [{ kind: "mask_value", value: -10000 }],
  scale: [{ kind: "no_scale" }],
  positions: [{ kind: "no_positions" }],
  residual: [{ kind: "no_residual_attention" }, { kind: "no_residual_mlp" }],
  norm: [{ kind: "no_final_norm" }],
};

const GROUPS = {
  heads: ["zero_ablate_head", "mean_ablate_head", "scale_head"],
  parts: ["zero_ablate_attention", "zero_ablate_mlp", "no_residual_attention", "no_residual_mlp", "no_positions", "no_final_norm", "patch_residual"],
  scores: ["attention_knockout", "no_mask", "mask_value", "no_scale", "values_are_keys", "previous_queries"],
};

const measured = signal({ ids: "", found: {} }); // of a text: {myth: {nats, top}}, and "none" for the unchanged model
const measuring = signal(null); // {stop: AbortController, done: count}

/** Without the head that the unchanged model singles out. */
function attempt() {
  const link = state.value.changes.length ? singledLink(unchangedLink()) : singledLink();
  return link && { words: link.words, change: { layer: link.layer, head: link.head, changes: [{ kind: "zero_ablate_head", layer: link.layer, head: link.head }] } };
}

function unchangedLink() {
  const query = ids.value.length - 1;
  const layers = unchanged() && askOf(unchanged().trace, `summary?position=${query}`)?.layers;
  return layers ? telling(layers, query) : null;
}

/** The trace of the text without interventions. */
const unchanged = () => other({ ids: ids.value, interventions: [] });

function draw() {
  return html`${live() ? nothing : html`<p>${t("whatif.live")}</p>`}${active()}${myths()}${all()}`;
}

/** The active interventions and their effect. */
function active() {
  const { changes } = state.value;
  if (!changes.length) return html`<h2>${t("whatif.now")}</h2><p>${t("whatif.none")}</p>`;
  return html`<h2>${t("whatif.now")}</h2><ul class="changes">${changes.map((change) => html`<li>${describe(change)} <code>${changeToText(change)}</code>
    <button type="button" class="quiet" ?disabled=${!live()} aria-label="${t("whatif.remove")}${t("sep.colon")}${describe(change)}" @click=${() => takeBack([change])}>${t("whatif.remove")}</button></li>`)}</ul>
    <p class="buttons"><button type="button" ?disabled=${!live()} @click=${() => go({ changes: [] })}>${t("whatif.undo")}</button>
      <button type="button" @click=${() => go({ view: "compare" })}>${t("whatif.compare")}</button></p>${damage()}`;
}

/** Mean loss and most likely next tokens, without and with the interventions. */
function damage() {
  if (!live() || !areInForce()) return nothing;
  const before = unchanged();
  const { position } = chosen.value;
  const nats = before && [before, trace.value].map((found) => askOf(found.trace, "surprisal")?.nats);
  const logits = before && [before, trace.value].map((found) => tensorOf(found.trace, select("logits", position, ":"))?.data);
  if (!before || !nats[0] || !nats[1] || !logits[0] || !logits[1]) return waiting();
  return html`${effect(nats[0], nats[1])}${losses(nats[0], nats[1], "probs")}${choices(["position"])}
    ${pairs(likeliest(logits[0]), likeliest(logits[1]), position, "probs")}`;
}

/** What happened to the loss, and which way is better. */
function effect(before, after) {
  const change = mean(after) - mean(before);
  if (!Number.isFinite(change)) return nothing;
  const leaks = trace.value.interventions.some(({ kind }) => kind === "no_mask" || kind === "mask_value");
  const name = Math.abs(change) <= LEAST ? "effect.none" : change > 0 ? "effect.worse" : leaks ? "verdict.better" : "effect.better";
  return html`<p class="verdict">${t(`whatif.${name}`, { n: finite(Math.abs(change)) })}</p>`;
}

const LEAST = 5e-5; // nats: smaller changes of the loss are not coloured
const mean = (nats) => nats.reduce((sum, each) => sum + (each ?? NaN), 0) / nats.length;
const finite = (value, digits = 4) => (Number.isFinite(value) ? value.toFixed(digits) : t("whatif.infinite"));

/** Both losses and their difference; `probs` names the probabilities with the interventions. */
function losses(before, after, probs) {
  if (!before.length) return html`<p class="note">${t("whatif.short")}</p>`;
  const one = mean(before);
  const two = mean(after);
  const change = two - one;
  return html`<dl class="measured loss">
    <dt>${t("whatif.before")}</dt><dd>${numeral(finite(one), "mean(-log probs) without changes", [])}</dd>
    <dt>${t("whatif.after")}</dt><dd>${numeral(finite(two), `mean(-log ${probs})`, [])}</dd>
    <dt>${t("whatif.change")}</dt><dd class=${change > LEAST ? "worse" : ""}>${numeral(`${change > 0 ? "+" : ""}${finite(change)}`, `mean(-log ${probs}) - mean(-log probs)`, [])}</dd></dl>`;
}

function pairs(before, after, position, probs) {
  return html`<div class="two"><section><p class="side">${t("whatif.top.before")}</p>${likelyList(before, "probs without changes", position, onlyIn(before, after))}</section>
    <section><p class="side">${t("whatif.top.after")}</p>${likelyList(after, probs, position, onlyIn(after, before))}</section></div>`;
}

/** The misconceptions, each with a switch and its measured effect. */
function myths() {
  const found = measured.value.ids === String(ids.value) ? measured.value.found : {};
  const running = measuring.value;
  return html`<h2>${t("whatif.myths")}</h2><p class="note">${t("whatif.myths.note")}</p>
    <p class="buttons">${running ? html`<progress max=${Object.keys(MYTHS).length + 1} value=${running.done} aria-label=${t("whatif.measuring")}></progress>` : nothing}
      <button type="button" ?disabled=${!live()} @click=${running ? () => running.stop.abort() : measure}>${t(running ? "cancel" : "whatif.measure")}</button></p>
    <ul class="myths">${Object.entries(MYTHS).map(([name, changes]) => myth(name, changes, found))}</ul>`;
}

function myth(name, changes, found) {
  const on = areWanted(changes);
  const { none, [name]: result } = found;
  const last = ids.value.length - 1;
  const probs = `(probs with ${changes.map(changeToText).join(", ")})`;
  return html`<li><h3>${t(`whatif.myth.${name}`)}</h3><p>${t(whyOf(name), divisorOf(model.value.config, chosen.value.layer))}</p>
    <p><button type="button" role="switch" aria-checked=${on} aria-label=${t("whatif.believe", { myth: t(`whatif.myth.${name}`) })} ?disabled=${!live()}
      @click=${() => (on ? takeBack(changes) : make(changes))}><span>${t(on ? "whatif.on" : "whatif.off")}</span></button>
      <code>${changes.map(changeToText).join(" ")}</code></p>
    ${none && result ? html`<p class="verdict">${verdict(name, mean(result.nats) - mean(none.nats))} <span>${t("whatif.first", { before: word(none.top[0].id), after: word(result.top[0].id) })}</span></p>${losses(none.nats, result.nats, probs)}<details><summary>${t("play.candidates")}</summary>${pairs(none.top, result.top, last, probs)}</details>` : nothing}</li>`;
}

const LEAKS = ["zero", "thousands"]; // let later tokens in

/** What the measured change of the loss says. */
function verdict(name, change) {
  if (Math.abs(change) <= LEAST) return t("whatif.verdict.none", { why: t(name === "thousands" ? "whatif.why.none.thousands" : "whatif.why.none.other") });
  if (change < 0) return t(LEAKS.includes(name) ? "whatif.verdict.better" : "whatif.verdict.better.plain");
  return t(change < 0.5 ? "whatif.verdict.worse.little" : "whatif.verdict.worse", { n: finite(change, 2) });
}

/** The text about a misconception; that about scaling depends on the model. */
function whyOf(name) {
  const { kind } = divisorOf(model.value.config, 0);
  return name === "scale" && kind !== "root" ? `whatif.why.scale.${kind}` : `whatif.why.${name}`;
}

/** Trace the text unchanged and once for each misconception, sequentially, so that the page stays responsive. */
async function measure() {
  const text = ids.peek();
  const stop = new AbortController();
  const all = Object.entries({ none: [], ...MYTHS });
  try {
    for (const [done, [name, changes]] of all.entries()) {
      measuring.value = { stop, done };
      const result = await damageOf(text, changes, stop.signal);
      const found = measured.peek().ids === String(text) ? measured.peek().found : {};
      measured.value = { ids: String(text), found: { ...found, [name]: result } };
    }
  } catch (error) {
    report(error);
  } finally {
    measuring.value = null;
  }
}

async function damageOf(text, interventions, stop) {
  const found = await readOther({ ids: text, interventions }, "myth", stop);
  const selection = select("logits", text.length - 1, ":");
  const { nats } = await transport().json(`traces/${found.trace}/surprisal`);
  const logits = (await transport().tensors(found.trace, [selection]))[selection].data;
  return { nats, top: likeliest(logits) };
}

/** Every kind of intervention, with a form for its fields. */
function all() {
  return html`<h2>${t("whatif.all")}</h2><div class="chooser"><p class="note">${t("whatif.all.note")}</p><div>${headMap()}</div></div>
    ${Object.entries(GROUPS).map(([group, kinds]) => html`<h3>${t(`whatif.group.${group}`)}</h3><ul class="kinds">${kinds.map(switchOf)}</ul>`)}`;
}

function switchOf(kind) {
  return html`<li><form @submit=${(event) => add(event, kind)}><b>${t(`whatif.kind.${kind}`)}</b>
    <span class="note">${t(`whatif.about.${kind}`)}</span>
    <span class="fields">${fieldsOf(model.value.interventions[kind]).map(([name, needed]) => field(kind, name, needed))}
    <button ?disabled=${!live()} aria-label="${t("whatif.add")}${t("sep.colon")}${t(`whatif.kind.${kind}`)}">${t("whatif.add")}</button></span></form></li>`;
}

const VALUES = { scale_head: 2, mask_value: -10 }; // initial values
let heldKey; // is not taken from under the cursor when the query that was typed before it becomes the position

function field(kind, name, needed) {
  if (name === "source") return sourceField();
  const { n_layer, n_head } = model.value.config;
  const { layer, head, position } = chosen.value;
  const last = ids.value.length - 1;
  const begin = { layer, head, query: position, key: heldKey ?? Math.max(0, position - 1), position, value: VALUES[kind] }[name];
  const most = { layer: n_layer - 1, head: n_head - 1, query: last, key: last, position: last }[name];
  return html`<label class="choice">${t(`whatif.${name}`)} <input type="number" name=${name} aria-label="${t(`whatif.kind.${kind}`)}${t("sep.colon")}${t(`whatif.${name}`)}" ?required=${needed} step=${name === "value" ? "any" : "1"}
    min=${most === undefined ? nothing : 0} max=${most ?? nothing} placeholder=${needed ? nothing : t("whatif.every")} .value=${needed ? String(begin) : ""} @focus=${({ target }) => { if (name === "key") heldKey = target.value; }} @change=${(event) => keep(name, event.target)}></label>`;
}

/** A layer, head or position that is set in one form holds in all of them. */
function keep(name, { value, validity }) {
  const chosenName = name === "query" ? "position" : name;
  if (chosenName in chosen.value && value !== "" && validity.valid) go({ [chosenName]: Number(value) }, { replace: true });
}

/** Field for the source text, or for its token ids if the model has no tokenizer. */
function sourceField() {
  const value = model.value.has_tokenizer ? text.value : ids.value.join(" ");
  return textBox(t("whatif.source"), "source", value);
}

async function add(event, kind) {
  event.preventDefault();
  const given = new FormData(event.target);
  const fields = fieldsOf(model.value.interventions[kind]).map(([name]) => [name, given.get(name)]);
  const change = { kind, ...Object.fromEntries(fields.filter(([, text]) => text !== "").map(([name, text]) => [name, Number(text)])) };
  if (kind === "attention_knockout" && change.key > change.query) return report(new Error(t("whatif.causal")));
  try {
    if ("source" in change) change.source = await idsOf(given.get("source"));
    make([change]);
  } catch (error) {
    report(error);
  }
}

async function idsOf(typed) {
  if (!model.peek().has_tokenizer) return typedIds(typed);
  return (await readOther({ text: typed, prepend_bos: true }, "source")).ids;
}
