// The figures of the article in its order, drawn from this model.

import { html, nothing } from "../vendor/lit-html.js";
import { language, say, t } from "../state/i18n.js";
import { goMore, state } from "../state/navigation.js";
import { ask, askTrace, chosen, live, singledLink, trace, transport } from "../state/session.js";
import { choices } from "../ui/controls.js";
import { headMap } from "../ui/head-map.js";
import { panel } from "../ui/panels.js";
import { claim, viewport, waiting } from "../ui/widgets.js";
import { motion } from "./article-motion.js";

export const article = { id: "article", group: "look", isPlaced: true, draw, attempt };

/** The figure of attention, in the head that the model singles out. */
function attempt() {
  const link = singledLink();
  return link && { words: link.words, change: { layer: link.layer, head: link.head, position: -1, more: { figure: "F22" } } };
}

function draw() {
  const listed = ask("figures")?.figures;
  if (!listed) return waiting();
  const open = listed.find((figure) => figure.id === state.value.more.figure) ?? listed[0];
  keepInSight(open.id);
  return html`<div class="chooser"><div>${choices(["layer", "head", "position"])}</div><div>${headMap()}</div></div>
    <div class="article"><details class="fold" .open=${viewport.value >= 832}><summary>${t("article.contents", { n: listed.length })}</summary>
      <ol class="contents">${listed.map((figure) => item(figure, figure === open))}</ol></details>
    <article class="figure" data-figure=${open.id}>${figure(open)}${around(listed, listed.indexOf(open))}</article></div>`;
}

let inSight = null;

/** Scroll the list to the open figure when a link or a button opened it. */
function keepInSight(id) {
  if (id === inSight) return;
  inSight = id;
  requestAnimationFrame(() => {
    const item = document.querySelector(".contents [aria-current]");
    const list = item?.closest(".contents");
    if (!list) return;
    const top = item.getBoundingClientRect().top - list.getBoundingClientRect().top;
    if (top < 0 || top > list.clientHeight - 60) list.scrollTop += top - list.clientHeight / 3;
  });
}

/** Another figure, from its top. */
function turnTo(id) {
  goMore({ figure: id, frame: null });
  const top = document.querySelector("article.figure")?.getBoundingClientRect().top ?? 0;
  if (top < 0) scrollBy(0, top - 64);
}

/** The arrow keys turn the pages, where they mean nothing else. */
addEventListener("keydown", ({ key, target, altKey, ctrlKey, metaKey }) => {
  const way = { ArrowLeft: "back", ArrowRight: "on" }[key];
  if (!way || altKey || ctrlKey || metaKey || target.closest("input, textarea, select, canvas, [role=group], .scroll")) return;
  document.querySelector(`article.figure [data-way="${way}"]`)?.click();
});

function item(figure, isOpen) {
  return html`<li><button type="button" class="quiet" aria-current=${isOpen ? "true" : nothing} @click=${() => goMore({ figure: figure.id, frame: null })}>
    <b>${figure.id}</b> ${say(figure.title)} ${figure.status === "live" ? nothing : html`<small class=${figure.status}>${t(`status.${figure.status}`)}</small>`}</button></li>`;
}

function figure(open) {
  return html`<h2>${open.id} · ${say(open.title)}</h2>
    <p class="place">${open.picture ? t("article.picture", open) : t("article.part", open)}</p>
    ${open.status === "later" ? html`<p>${t("article.later")}</p>` : body(open)}`;
}

function body(open) {
  const { layer, head, position } = chosen.value;
  const query = { layer, head, position };
  const found = askTrace(`figures/${open.id}?${new URLSearchParams(query)}`);
  if (!found) return waiting();
  return html`${motion(open.id, found) ?? nothing}${found.panels.map(panel)}${claim(found.check)}${save(open, query)}`;
}

function save(open, query) {
  if (!live()) return nothing;
  const file = (format) => transport().figureFile(trace.value.trace, open.id, { ...query, format, language: language.value });
  return html`<div class="tools"><details><summary>${t("article.save")}</summary>${["svg", "json", "text"].map((format) => html`
    <a class="quiet" href=${file(format)} download="${open.id}.${format === "text" ? "txt" : format}">${format.toUpperCase()}</a>`)}</details></div>`;
}

function around(listed, at) {
  const step = (i, label) => (listed[i] ? html`<button type="button" data-way=${i < at ? "back" : "on"} @click=${() => turnTo(listed[i].id)}>${label}</button>` : nothing);
  return html`<div class="steps">${step(at - 1, `← ${listed[at - 1]?.id}`)}${step(at + 1, `${listed[at + 1]?.id} →`)}</div>`;
}
