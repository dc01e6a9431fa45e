// The figures of the article in its order, drawn from this model, with a few sentences that lead from one to the next. Who
// scrolls to the end of a figure goes on to the next one of the same chapter.

import { html, nothing } from "../vendor/lit-html.js";
import { effect, signal } from "../vendor/signals-core.js";
import { language, say, t } from "../state/i18n.js";
import { goMore, state } from "../state/navigation.js";
import { ask, askTrace, chosen, live, singledLink, trace, transport } from "../state/session.js";
import { choices } from "../ui/controls.js";
import { headMap } from "../ui/head-map.js";
import { panel } from "../ui/panels.js";
import { claim, keep, viewport, waiting } from "../ui/widgets.js";
import { motion } from "./article-motion.js";

export const article = { id: "article", group: "look", isPlaced: true, draw, attempt };

/** The chapters, by the figure that each begins with. */
const CHAPTERS = {
  F01: "model", F05: "transformers", F08: "loop", F10: "blocks", F15: "inside", F18: "input", F22: "attention", F26: "output", T2: "fine", F30: "steps", F36: "mask",
  F41: "cache", F44: "block", F55: "mlp", F57: "weights", F60: "beyond", F63: "music",
};

const unrolled = signal(0); // figures after the open one that have been scrolled to

/** The figure of attention, in the head that the model singles out. */
function attempt() {
  const link = singledLink();
  return link && { words: link.words, change: { layer: link.layer, head: link.head, position: -1, more: { figure: "F30" } } };
}

function draw() {
  const listed = ask("figures")?.figures;
  if (!listed) return waiting();
  const open = listed.find((figure) => figure.id === state.value.more.figure) ?? listed[0];
  const at = listed.indexOf(open);
  const more = listed.slice(at + 1, chapterEnd(listed, at)).slice(0, unrolled.value);
  const contents = t("article.contents", { n: listed.length });
  keepInSight(open.id);
  return html`${choices(["layer", "head", "position"])}
    <div class="article"><p class="said" role="status">${say(open.title)}</p><details class="fold" aria-label=${contents} .open=${viewport.value >= 832}><summary>${contents}</summary>${headMap()}
      <ol class="contents">${listed.map((figure) => item(figure, figure === open))}</ol></details>
    <div class="chapter">${part(open, listed)}
    ${more.map((figure) => keep(`article ${figure.id}`, () => part(figure, listed)))}${around(listed, at, at + more.length)}</div></div>`;
}

const chapterOf = (listed, at) => CHAPTERS[listed.slice(0, at + 1).findLast(({ id }) => id in CHAPTERS).id];

/** The place after the last figure of the same chapter. */
function chapterEnd(listed, at) {
  const next = listed.findIndex(({ id }, i) => i > at && id in CHAPTERS);
  return next < 0 ? listed.length : next;
}

/** One figure with the sentences that lead to it. */
function part(figure, listed) {
  return html`<article class="figure" data-figure=${figure.id}><p class="place">${t(`section.${chapterOf(listed, listed.indexOf(figure))}`)} · ${figure.picture ? t("article.picture", figure) : t("article.part", figure)}</p>
    <h2>${say(figure.title)} <small>${figure.id}</small></h2><p class="prose">${t(`prose.${figure.id}`)}</p>
    ${body(figure)}</article>`;
}

/** What follows the open figure is unrolled when the window's end comes near that of the chapter. */
function unroll() {
  const end = document.querySelector(".chapter")?.getBoundingClientRect().bottom;
  if (scrollY > 0 && end < innerHeight + 80 && !document.querySelector(".chapter [aria-busy=true]")) unrolled.value += 1;
}

addEventListener("scroll", unroll, { passive: true });

/** Another figure, or another text, begins with nothing unrolled. */
effect(() => {
  String([state.value.more.figure, state.value.view, trace.value?.trace]);
  unrolled.value = 0;
});

let inSight = null;

/** Scroll the list to the open figure when a link or a button opened it. */
function keepInSight(id) {
  if (id === inSight) return;
  requestAnimationFrame(() => {
    const item = document.querySelector(".contents [aria-current]");
    if (!item?.textContent.endsWith(id)) return; // its numbers have not arrived
    const list = item.closest(".contents");
    inSight = id;
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
  document.querySelector(`.steps [data-way="${way}"]`)?.click();
});

function item(figure, isOpen) {
  return html`${figure.id in CHAPTERS ? html`<li class="chapter-title">${t(`section.${CHAPTERS[figure.id]}`)}</li>` : nothing}
    <li><button type="button" class="quiet" aria-current=${isOpen ? "true" : nothing} @click=${() => turnTo(figure.id)}>
    <span>${say(figure.title)}</span> ${figure.status === "live" ? nothing : html`<small class=${figure.status} title=${t(`status.${figure.status}.note`)}>${t(`status.${figure.status}`)}</small>`} <b>${figure.id}</b></button></li>`;
}

function body(open) {
  const { layer, head, position } = chosen.value;
  const query = { layer, head, position };
  const found = askTrace(`figures/${open.id}?${new URLSearchParams(query)}`);
  if (!found) return waiting();
  return html`${motion(open.id, found) ?? nothing}${found.panels.map(panel)}${open.status === "live" ? claim(found.check) : html`<p class="note">${t(`status.${open.status}.note`)}</p>`}${save(open, query)}`;
}

function save(open, query) {
  if (!live()) return nothing;
  const file = (format) => transport().figureFile(trace.value.trace, open.id, { ...query, format, language: language.value });
  return html`<div class="tools"><details><summary>${t("article.save")}</summary>${["svg", "json", "text"].map((format) => html`
    <a class="quiet" href=${file(format)} download="${open.id}.${format === "text" ? "txt" : format}">${format.toUpperCase()}</a>`)}</details></div>`;
}

/** Buttons to the figure before the open one, and to the one after the last that is shown. */
function around(listed, first, last) {
  const step = (way, figure) => (figure ? html`<button type="button" data-way=${way} title=${figure.id} @click=${() => turnTo(figure.id)}>${way === "back" ? "← " : ""}${say(figure.title)}${way === "on" ? " →" : ""}</button>` : html`<span></span>`);
  return html`<div class="steps">${step("back", listed[first - 1])}${step("on", listed[last + 1])}</div>`;
}
