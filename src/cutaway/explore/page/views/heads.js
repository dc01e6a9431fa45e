// All attention heads at once: small pictures of where they look, what they may be called, and which of them look
// from one token to another.

import { html, nothing } from "../vendor/lit-html.js";
import { choices } from "../app/controls.js";
import { t } from "../app/i18n.js";
import { askTrace, chosen, ids, model, tokens } from "../app/model.js";
import { headCells } from "../app/slices.js";
import { go, goMore, state } from "../app/state.js";
import { grid } from "../draw/cell-grid.js";
import { numeral, percent } from "../draw/numbers.js";
import { atlas } from "../draw/head-atlas.js";

export const heads = { id: "heads", draw };

const LISTED = 10; // heads of a search

function draw() {
  return html`${choices(["layer", "head"])}
    <p><label><input type="checkbox" .checked=${isWithoutFirst()} @change=${(event) => goMore({ first: event.target.checked ? "0" : null })}>
      ${t("heads.first")}</label></p>
    ${isWithoutFirst() ? html`<p class="note">${t("heads.first.note")}</p>` : nothing}
    <div class="heads"><div>${search()}<section aria-labelledby="atlas"><h2 id="atlas">${t("heads.atlas")}</h2>
      <p class="note">${t("heads.atlas.note")}</p>${atlas({ withoutFirst: isWithoutFirst(), open: openHead })}</section></div>
    <section class="beside" aria-labelledby="chosen-head">${large()}</section></div>`;
}

const waiting = () => html`<p>${t("loading")}</p>`;
const labels = () => tokens.value.map((token) => token.text);
const isWithoutFirst = () => state.value.more.first === "0";
const openHead = (layer, head) => go({ view: "attention", layer, head });

/** The chosen head's pattern, and what it does in numbers. */
function large() {
  const { layer, head, position } = chosen.value, names = labels(), cells = headCells("attn", layer, head);
  return html`<h2 id="chosen-head">${t("heads.chosen", { layer, head })}</h2>
    <p class="buttons"><button type="button" @click=${() => openHead(layer, head)}>${t("heads.open")}</button></p>
    ${cells ? grid({ title: t(isWithoutFirst() ? "heads.pattern.first" : "heads.pattern"), cells: isWithoutFirst() ? withoutFirst(cells) : cells, scale: "share",
      rowLabels: names, columnLabels: names, rowAxis: t("query"), columnAxis: t("key"), cursor: [position, position], pick: (query) => go({ position: query }, { replace: true }) }) : waiting()}
    ${statistics(layer, head)}`;
}

let renormalised = null; // the last cells drawn so; a pattern of 1,024 tokens is a million numbers

/** Weights to be looked at without the first token: each row's others sum to 1 again, the first row stays. */
function withoutFirst(cells) {
  if (renormalised?.of === cells.values) return renormalised.cells;
  const n = cells.columns, values = cells.values.slice();
  for (let row = 1; row < cells.rows; row++) {
    values[row * n] = 0;
    const rest = values.subarray(row * n, (row + 1) * n).reduce((sum, weight) => sum + weight, 0);
    for (let key = 1; key < n && rest > 0; key++) values[row * n + key] /= rest;
  }
  renormalised = { of: cells.values, cells: { ...cells, values, tensor: `without_first(${cells.tensor})` } };
  return renormalised.cells;
}

// What is measured of a head, by the server's names; i is a query's position, j a key's.
const MEASURED = {
  first: "sum(attn[i,0])", previous: "sum(attn[i,i-1])", duplicate: "sum(attn[i,j]; j < i, ids[j] = ids[i])",
  induction: "sum(attn[i,j]; j <= i, ids[j-1] = ids[i])", largest: "max(attn[i,j]; j > 0)", entropy: "-sum(attn[i,:] log attn[i,:])",
};

function statistics(layer, head) {
  const found = askTrace(`heads?layer=${layer}`)?.heads[head];
  if (!found) return waiting();
  return html`<h3 id="measured">${t("heads.measured")}</h3><p class="note">${t("heads.mean")}</p><table aria-labelledby="measured">
    <thead><tr><th scope="col">${t("heads.what")}</th><th scope="col">${t("heads.value")}</th></tr></thead>
    <tbody>${Object.entries(MEASURED).map(([name, formula]) => html`<tr><td>${t(`heads.${name}.name`)}<small>${formula}</small></td>
      <td class="right">${found[name] === null ? t("heads.none") : numeral(found[name].toFixed(3), `${name}(attn.${layer})`, [head])}</td></tr>`)}</tbody></table>`;
}

/** From which token to which: every head, by the weight it gives. */
function search() {
  const { query, keys } = wanted(), names = labels();
  const found = keys.length ? askTrace(`search?query=${query}&keys=${keys.join(",")}`)?.heads : [];
  return html`<section aria-labelledby="search"><h2 id="search">${t("heads.search")}</h2>
    <p class="note">${t("heads.search.note")}</p>
    <div class="choices">
      ${pickToken("heads.from", query, names, (i) => goMore({ from: i, to: keys.filter((key) => key <= i).join(",") }))}
      ${pickToken("heads.to", "", names.slice(0, query + 1), (key) => goMore({ from: query, to: [...new Set([...keys, key])].sort((a, b) => a - b).join(",") }))}
      <ul class="chips" aria-label=${t("heads.keys")}>${keys.map((key) => html`<li><button type="button" class="token" aria-label=${t("heads.remove", { token: names[key] })}
        @click=${() => goMore({ from: query, to: keys.filter((other) => other !== key).join(",") })}>${names[key]} ×</button></li>`)}</ul></div>
    ${found ? ranking(found, query, keys) : waiting()}</section>`;
}

/** The search of the address; what looks is the chosen token unless another is named. */
function wanted() {
  const { from, to } = state.value.more, { position } = chosen.value, within = (i, end) => Number.isInteger(i) && i >= 0 && i < end;
  const query = within(Number(from ?? position), ids.value.length) ? Number(from ?? position) : position;
  const named = (to ?? "").split(",").filter(Boolean).map(Number);
  return { query, keys: named.filter((key) => within(key, query + 1)) };
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

function ranking(found, query, keys) {
  if (!keys.length) return html`<p>${t("heads.pick")}</p>`;
  const { n_layer, n_head } = model.value.config, formula = keys.map((key) => `attn.l[h,${query},${key}]`).join(" + ");
  const values = new Float32Array(n_layer * n_head);
  for (const { layer, head, weight } of found) values[layer * n_head + head] = weight;
  const cells = { tensor: formula, shape: [n_layer, n_head], values, rows: n_layer, columns: n_head, offset: 0, steps: [n_head, 1] };
  const count = (n, words) => Array.from({ length: n }, (_, i) => `${t(words)} ${i}`), best = found[0];
  return html`<div class="two"><div><h3>${t("heads.best", { n: Math.min(LISTED, found.length), all: found.length })}</h3>
    <ol class="bars ranked">${found.slice(0, LISTED).map(({ layer, head, weight }) => html`<li>
      <button type="button" class="quiet" aria-pressed=${isChosen(layer, head)} @click=${() => go({ layer, head })}>${t("heads.name", { layer, head })}</button>
      <meter min="0" max="1" value=${weight} aria-hidden="true"></meter>
      ${numeral(percent(weight), formula, [layer, head])}</li>`)}</ol></div>
    ${grid({ title: t("heads.map"), cells, scale: "share", rowLabels: count(n_layer, "layer"), columnLabels: count(n_head, "head"),
      cursor: [best.layer, best.head], pick: (layer, head) => go({ layer, head }) })}</div>`;
}

const isChosen = (layer, head) => layer === chosen.value.layer && head === chosen.value.head;
