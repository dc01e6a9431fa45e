// All attention heads: thumbnails of their patterns, labels, and a search for heads that attend from one token to
// others.

import { html, nothing } from "../vendor/lit-html.js";
import { computedCells } from "../lib/cells.js";
import { percent } from "../lib/format.js";
import { withoutFirst } from "../lib/patterns.js";
import { t } from "../state/i18n.js";
import { go, goMore, isOn, ownNumber, state } from "../state/navigation.js";
import { askTrace, chosen, ids, isWhole, labels, live, model, singledLink } from "../state/session.js";
import { headCells } from "../state/slices.js";
import { grid } from "../ui/cell-grid.js";
import { checkbox, choices } from "../ui/controls.js";
import { atlas, headsOf, shownName } from "../ui/head-atlas.js";
import { numeral } from "../ui/numeral.js";
import { keep, meter, waiting } from "../ui/widgets.js";
import { telling } from "./attention.js";

export const heads = { id: "heads", group: "inside", isPlaced: true, draw, attempt };

const LISTED = 10; // heads of a search

/** Search for the link that the model singles out. */
function attempt() {
  const link = singledLink();
  return link && { words: link.words, change: { layer: link.layer, head: link.head, more: { ...state.value.more, from: link.query, to: String(link.key) } } };
}

function draw() {
  return html`${telling()}${choices(["layer", "head"])}
    <p>${checkbox("without_first", t("heads.first"))}</p>
    ${isOn("without_first") ? html`<p class="note">${t("heads.first.note")}</p>` : nothing}
    <div class="heads"><section class="beside" aria-labelledby="chosen-head">${large()}</section>
      <div>${live() ? search() : nothing}<section aria-labelledby="atlas"><h2 id="atlas">${t("heads.atlas")}</h2>
      <p class="note">${t("heads.atlas.note")}</p>${keep("heads.atlas", () => atlas(openHead), { inParts: true })}</section></div></div>`;
}

const openHead = (layer, head) => isWhole(layer, head) && go({ view: "attention", layer, head });

/** The selected head's pattern and statistics. */
function large() {
  const { layer, head } = chosen.value;
  return html`<div class="buttons"><h2 id="chosen-head">${t("heads.chosen", { layer, head })}</h2>
    <button type="button" ?disabled=${!isWhole(layer, head)} @click=${() => openHead(layer, head)}>${t("heads.open")}</button>
      ${isWhole(layer, head) ? nothing : html`<small>${t("heads.absent")}</small>`}</div>
    ${pattern(layer, head)}${statistics(layer, head)}`;
}

function pattern(layer, head) {
  const cells = headCells("attn", layer, head);
  const { position } = chosen.value;
  const names = labels.value;
  if (!cells) return waiting();
  return grid({ title: t(isOn("without_first") ? "heads.pattern.first" : "heads.pattern"), cells: isOn("without_first") ? cut(cells, layer) : cells,
    scale: "share", rowLabels: names, columnLabels: names, rowAxis: t("query"), columnAxis: t("key"), cursor: [position, position],
    pick: (query) => go({ position: query }, { replace: true }) });
}

let lastCut = null; // a pattern of 1,024 tokens is a million numbers

function cut(cells, layer) {
  if (lastCut?.of !== cells.values) lastCut = { of: cells.values, values: withoutFirst(cells.values, cells.columns) };
  return { ...cells, values: lastCut.values, tensor: shownName(layer) };
}

// Statistics of a head; i is the position of a query, j of a key.
const MEASURED = {
  first: "sum(attn[i,0])", previous: "sum(attn[i,i-1])", duplicate: "sum(attn[i,j]; j < i, ids[j] = ids[i])",
  induction: "sum(attn[i,j]; j <= i, ids[j-1] = ids[i])", largest: "max(attn[i,j]; j > 0)", entropy: "-sum(attn[i,:] log attn[i,:])",
};

function statistics(layer, head) {
  const found = headsOf(layer)?.[head];
  if (!found) return waiting();
  return html`<h3 id="measured">${t("heads.measured")}</h3><p class="note">${t("heads.mean")}</p><table aria-labelledby="measured">
    <thead><tr><th scope="col">${t("heads.what")}</th><th scope="col" class="right">${t("whatif.value")}</th></tr></thead>
    <tbody>${Object.entries(MEASURED).map(([name, formula]) => html`<tr><td>${t(`heads.${name}.name`)}<small>${formula}</small></td>
      <td class="right">${found[name] === null ? t("heads.none") : numeral(name === "entropy" ? found[name].toFixed(3) : percent(found[name]), `${name}(attn.${layer})`, [head])}</td></tr>`)}</tbody></table>`;
}

/** Search: all heads, ranked by attention from a query to some keys. */
function search() {
  const { query, keys } = wanted();
  const names = labels.value;
  const from = (token) => goMore({ from: token, to: keys.filter((key) => key <= token).join(",") });
  const to = (keys) => goMore({ from: query, to: [...new Set(keys)].sort((a, b) => a - b).join(",") });
  return html`<section aria-labelledby="search"><h2 id="search">${t("heads.search")}</h2>
    <p class="note">${t("heads.search.note")}</p>
    <div class="choices">${pickToken("heads.from", query, names, from)}
      ${pickToken("heads.to", "", names.slice(0, query + 1), (key) => to([...keys, key]))}
      <ul class="chips" aria-label=${t("heads.keys")}>${keys.map((key) => html`<li><button type="button" class="token" aria-label=${t("heads.remove", { token: names[key] })}
        @click=${() => to(keys.filter((other) => other !== key))}>${names[key]} ×</button></li>`)}</ul></div>
    ${keys.length ? ranking(query, keys) : html`<p>${t("heads.pick")}</p>`}</section>`;
}

/** The search in the address; the query is the selected token by default. */
function wanted() {
  const query = ownNumber("from", ids.value.length, chosen.value.position);
  const { to = "" } = state.value.more;
  return { query, keys: to.split(",").filter((text) => /^\d{1,9}$/.test(text)).map(Number).filter((key) => key <= query) };
}

function pickToken(name, value, names, pick) {
  const change = ({ target }) => {
    pick(Number(target.value));
    if (value === "") target.value = "";
  };
  return html`<label class="choice">${t(name)} <select @change=${change}>
    ${value === "" ? html`<option value="">${t("heads.add")}</option>` : nothing}
    ${names.map((token, i) => html`<option value=${i} .selected=${i === value}>${i} ${token}</option>`)}</select></label>`;
}

function ranking(query, keys) {
  const all = askTrace(`search?query=${query}&keys=${keys.join(",")}`)?.heads;
  if (!all) return waiting();
  const formula = keys.map((key) => `attn.l[h,${query},${key}]`).join(" + ");
  const best = all.slice(0, LISTED);
  return html`<div class="two"><div><h3>${t("heads.best", { n: best.length, all: all.length })}</h3>
    <ol class="bars ranked">${best.map(({ layer, head, weight }) => html`<li>
      <button type="button" class="quiet" aria-pressed=${isChosen(layer, head)} @click=${() => go({ layer, head })}>${t("heads.chosen", { layer, head })}</button>
      ${meter(weight)}
      ${numeral(percent(weight), formula, [layer, head])}</li>`)}</ol></div>${map(all, formula)}</div>`;
}

/** Weights as (layers, heads). */
function map(all, formula) {
  const { n_layer, n_head } = model.value.config;
  const values = new Float32Array(n_layer * n_head);
  const [best] = all;
  for (const { layer, head, weight } of all) values[layer * n_head + head] = weight;
  const count = (n, named) => Array.from({ length: n }, (_, i) => named(i));
  return grid({ title: t("heads.map"), cells: computedCells(formula, values, n_head), scale: "share", rowLabels: count(n_layer, (i) => `${t("layer")} ${i}`),
    columnLabels: count(n_head, String), columnAxis: t("head"), cursor: [best.layer, best.head], pick: (layer, head) => go({ layer, head }) });
}

const isChosen = (layer, head) => layer === chosen.value.layer && head === chosen.value.head;
