// The page: header, menu and the current view.

import { html, nothing, render } from "./vendor/lit-html.js";
import { effect, signal } from "./vendor/signals-core.js";
import { START, toAddress } from "./lib/address.js";
import { setColours } from "./lib/colours.js";
import { inWords } from "./lib/errors.js";
import { grouped, megabytesOf } from "./lib/format.js";
import { names, together, written } from "./lib/graphemes.js";
import { typedIds } from "./lib/token-ids.js";
import { areInForce, describe } from "./state/changes.js";
import { LANGUAGES, gap, language, say, setWords, t } from "./state/i18n.js";
import { followAddress, go, lacked, state } from "./state/navigation.js";
import * as here from "./state/session.js";
import { THEMES, isDark, setTheme, theme, watchTheme } from "./state/theme.js";
import { httpTransport } from "./state/transport.js";
import { enterSubmits } from "./ui/controls.js";
import { download } from "./ui/download.js";
import { explained, glossary } from "./ui/glossary.js";
import { forget, isDrawn, keep, waiting } from "./ui/widgets.js";
import { VIEWS } from "./views/index.js";

const MOST_TOKENS = 256; // in the header; of longer texts, those around the selected one

async function begin() {
  const transport = globalThis.cutawayTransport ?? httpTransport;
  followAddress(transport);
  const [words, colours] = await Promise.all([transport.words(), transport.colours(), here.start(transport)]);
  setColours(colours, isDark());
  watchTheme((dark) => setColours(colours, dark));
  setWords(words, kindOf(here.model.value));
  for (const part of document.querySelectorAll("body > [id^=frame]")) part.remove(); // what stood there until now
  effect(() => {
    name(language.value === "zh" ? "zh-Hans" : "en", `${t(`${shown().id}.title`)} · Cutaway`);
    here.beginDrawing();
    keepFocus(() => render(page(), document.body));
    here.endDrawing();
    showPlace("nav [aria-current]");
    showPlace(".tokens [aria-pressed=true]");
  });
}

/** Set the document's language and title where they change: a language that is set, even to itself, restyles every element. */
function name(lang, title) {
  if (document.documentElement.lang !== lang) document.documentElement.lang = lang;
  if (document.title !== title) document.title = title;
}

/** The kind of model that some texts are about. */
const kindOf = ({ music, directions }) => (music ? "music" : directions.length ? "translation" : undefined);

/** Draw; what had the focus and is gone, or of another view, gives it to the view, or to the header's box. */
function keepFocus(draw) {
  const { activeElement: focused } = document;
  const home = focused.closest("header") ? ".prompt textarea" : "main";
  const view = focused.closest("main")?.dataset.view;
  draw();
  if (!focused.isConnected || (view && view !== shown().id)) document.querySelector(home)?.focus({ preventScroll: true });
}

const inSight = new Map(); // what was scrolled to

/** Scroll the line that an element stands in to it, without scrolling the page; once, until it is another. */
function showPlace(selector) {
  const place = document.querySelector(selector);
  if (!place || inSight.get(selector) === place) return;
  inSight.set(selector, place);
  const line = place.closest("nav, ol");
  line.scrollLeft = place.offsetLeft - line.offsetLeft - (line.clientWidth - place.offsetWidth) / 2;
}

/** The view, with how long the text is, or the token that is chosen in it: announced when one of them changes. */
function said(view) {
  const i = here.position.value;
  const token = here.labels.value[i];
  const n = here.tokens.value.length;
  return `${t(`${view.id}.title`)}${t("sep.colon")}${i === n - 1 ? t("said", { n, token }) : `“${token}”${t("sep.comma")}${t("place", { n: i + 1, i })}`}`;
}

const heard = signal(null); // what is announced of a reading that takes long
let clock; // until the next announcement

/** It has begun; every few seconds, the layer that is reached; its end is announced with the text. */
effect(() => {
  if (here.progress.value && !clock) announce(() => t("reading"), 800);
  if (here.progress.value) return;
  clearTimeout(clock);
  clock = null;
  heard.value = null;
});

function announce(words, wait) {
  clock = setTimeout(() => {
    heard.value = words();
    announce(() => t("reading.layers", here.progress.peek()), 5000);
  }, wait);
}

/** The available views: an exported file does not have all. */
const views = () => VIEWS.filter((view) => here.transport().views?.includes(view.id) ?? true);
const shown = () => views().find((view) => view.id === state.value.view) ?? views()[0];

/** Those that the menu has for this model; the others say what they need, to whom a link leads there. */
const offered = () => views().filter((view) => view.isOffered?.() ?? true);

/** Menus close with Escape, and with a press elsewhere. */
function closeMenus(event) {
  const { type, key } = event;
  const path = event.composedPath(); // what is pressed may be gone by now
  if (type === "keydown" && key !== "Escape") return;
  for (const menu of document.querySelectorAll(".tools details[open], .share[open]")) {
    if (type === "click" && path.includes(menu)) continue;
    if (menu.contains(document.activeElement)) menu.querySelector("summary").focus();
    menu.open = false;
  }
}

for (const kind of ["keydown", "click"]) addEventListener(kind, closeMenus);

/** Numbers are copied with a hyphen, for programs. */
addEventListener("copy", (event) => {
  const text = String(getSelection());
  if (event.target.form || !text.includes("−")) return;
  event.clipboardData.setData("text/plain", text.replaceAll("−", "-"));
  event.preventDefault();
});

let current = "";
const draft = signal(null); // what is written in the box and has not been run

function page() {
  const view = shown();
  if (view.id !== current) forget();
  current = view.id;
  return html`
    <a class="skip" href="#main" @click=${skip}>${t("skip")}</a>
    <header>${title()}${unread()}${failed()}</header>
    <section class="strip" aria-label=${t("tokens.title")}>${tokens()}${news()}<div class="changed" role="status">${changed()}</div>
      <p class="said" role="status">${heard.value ?? (here.tokens.value.length ? said(view) : nothing)}</p></section>
    <nav aria-label=${t("views")}>${menu(view)}</nav>
    <main id="main" tabindex="-1" aria-labelledby="view" class=${here.isPrevious.value ? "previous" : nothing} data-view=${view.id} data-trace=${here.trace.value?.trace ?? nothing}>
      <h1 id="view">${t(`${view.id}.title`)}</h1>
      <p class="lead">${explained(view.id, t(`${view.id}.lead`))}</p>
      ${here.live() ? nothing : fileNote()}
      ${here.trace.value && here.live() && view.attempt ? keep("try", () => tryThis(view), { inParts: true }) : nothing}
      ${here.trace.value ? keep(view.id, () => (view.isPlaced && !here.isPlaced() ? waiting() : view.draw())) : waiting()}
      ${isDrawn(view.id) ? html`${glossary(view.id)}${onward(view)}` : nothing}
    </main>`;
}

/** In a file: the view that was asked for and that it does not hold, and how to see more. */
function fileNote() {
  return html`<p class="note" role="status">${lacked.value ? html`<b>${t("missing", { view: say(lacked.value) })}</b> ` : nothing}${t("server")} <code>cutaway explore --model ${here.model.value.name}</code></p>`;
}

/** One button that sets a telling state of the view. */
function tryThis(view) {
  const found = view.attempt();
  return html`<p class="try">${found ? html`<button type="button" @click=${() => (found.run ? found.run() : go(found.change))}><b>${t("try")}</b> ${t(`${view.id}.try`, found.words)}</button>` : nothing}</p>`;
}

/** Where the story goes on. */
function onward(view) {
  const at = offered().indexOf(view);
  const next = offered()[at + 1];
  return at >= 0 && next ? html`<p class="onward"><a href="#" @click=${(event) => open(event, next.id)}>${t("next", { view: t(`${next.id}.title`) })} →</a></p>` : nothing;
}

/** The views in their groups. */
function menu(current) {
  return [...Map.groupBy(offered(), (view) => view.group)].map(([group, members]) => html`<section aria-labelledby="group-${group}">
    <p id="group-${group}">${t(`group.${group}`)}</p><ul>${members.map((each) => html`
      <li><a href="#" aria-current=${each === current ? "page" : nothing} @click=${(event) => open(event, each.id)}>${t(`${each.id}.title`)}</a></li>`)}</ul></section>`);
}

function open(event, id) {
  event.preventDefault();
  go({ view: id });
}

function skip(event) {
  event.preventDefault();
  document.querySelector("main").focus();
}

function title() {
  const { name, engine, dtype } = here.model.value;
  return html`<div class="title"><div>
    <a class="brand" href="#" @click=${(event) => open(event, views()[0].id)}>Cutaway</a>
    <span class="model" title=${t("precision", { engine, dtype })}>${name} · ${t("precision.short", { dtype })}</span></div>
    <div class="controls">${prompt()}
    ${here.live() && here.trace.value ? share() : nothing}
    ${lamp()}
    <select aria-label=${t("language")} @change=${(event) => go({ language: event.target.value }, { replace: true })}>
      ${Object.entries(LANGUAGES).map(([code, name]) => html`<option value=${code} ?selected=${code === language.value}>${name}</option>`)}
    </select></div></div>`;
}

const LAMPS = { auto: "◐", light: "☀", dark: "☾" };

/** A button that goes on to the next theme. */
function lamp() {
  const next = THEMES[(THEMES.indexOf(theme.value) + 1) % THEMES.length];
  const words = t(`theme.${theme.value}`);
  return html`<button type="button" class="lamp" aria-label=${words} title=${words} @click=${() => setTheme(next)}>${LAMPS[theme.value]}</button>`;
}

/** The text as a link, and as a file. */
function share() {
  const { language, more } = state.value;
  const place = { view: shown().id, ...here.chosen.value, settings: toAddress({ ...START, language, more }).split("?")[1] ?? "" };
  return html`<details class="share"><summary>${t("share")}</summary><div>
    <button type="button" class="quiet" @click=${copyLink}>${t("share.link")}</button>
    ${saving.value ? html`<progress max=${saving.value.parts} value=${saving.value.done} aria-label=${t("share.file")}></progress>
      <span>${t("share.parts", saving.value)}</span>` : nothing}
    <button type="button" class="quiet" @click=${() => (saving.value ? saved.abort() : saveFile(here.trace.value.trace, place))}>${t(saving.value ? "cancel" : "share.file")}</button>
    <small role="status">${copied.value ? t("share.copied") : nothing}</small><small>${t("share.note")} ${megabytes() < LARGE ? nothing : t("share.large", { n: megabytes() })}</small></div></details>`;
}

const LARGE = 5; // megabytes

const megabytes = () => megabytesOf(here.ids.value.length);

const saving = signal(null); // {done, parts} of a file that is being made
let saved; // its AbortController

/** Make the file and hand it to the browser; who stops it stops the server, too. */
async function saveFile(trace, place) {
  saved = new AbortController();
  saving.value = { done: 0, parts: 1 };
  try {
    const page = await here.transport().page(trace, place, (done, parts) => { saving.value = { done, parts }; }, saved.signal);
    download(`cutaway-${place.view}.html`, new Blob([page], { type: "text/html" }));
  } catch (error) {
    here.report(error);
  } finally {
    saving.value = null;
  }
}

const copied = signal(false);

async function copyLink() {
  const { href } = new URL(toAddress({ ...state.value, model: here.model.value.name }), location);
  if (!navigator.clipboard) return globalThis.prompt(t("share.link"), href); // without TLS
  await navigator.clipboard.writeText(href);
  copied.value = true;
  setTimeout(() => { copied.value = false; }, 2000);
}

function prompt() {
  if (!here.live()) return nothing;
  const readsText = here.model.value.has_tokenizer;
  const shown = readsText ? here.text.value : here.ids.value.join(" ");
  const value = draft.value ?? shown;
  const typed = ({ target }) => { draft.value = target.value === shown ? null : target.value; };
  return html`<form class="prompt" @submit=${readText}>
    <textarea name="text" aria-label=${t(readsText ? "prompt" : "prompt.ids")} autocomplete="off" spellcheck="false" maxlength="20000" rows=${rows(value)} .value=${value} @input=${typed} @keydown=${enterSubmits} @blur=${({ target }) => { target.scrollTop = 0; }}></textarea>
    <button>${t("read")}</button></form>`;
}

/** One row per line of the text, up to six. */
const rows = (text) => Math.min(6, text.split("\n").length);

async function readText(event) {
  event.preventDefault();
  const sent = draft.value;
  const typed = new FormData(event.target).get("text");
  const request = here.model.value.has_tokenizer ? { text: typed, prepend_bos: true } : typedIds(typed, here.model.value.config.n_vocab);
  if (request.wrong !== undefined) return; // what is written stays, with what is wrong with it above
  go({ position: -1 }, { replace: true });
  if ((await here.read(request)) && draft.value === sent) draft.value = null; // what could not be read stays in the box
}

/** The tokens in one line, as buttons; the pressed one is the selected position. */
function tokens() {
  const found = here.tokens.value;
  if (!found.length) return nothing;
  const at = here.position.value;
  const first = Math.max(0, Math.min(at - MOST_TOKENS / 2, found.length - MOST_TOKENS));
  const after = first + MOST_TOKENS;
  return html`${step(at - 1, "previous.token", "←")}<ol class="tokens" tabindex=${here.isFree() ? nothing : 0} aria-label=${t("tokens.title")} start=${first + 1}>
    ${first > 0 ? html`<li><button type="button" class="quiet" @click=${() => go({ position: first - 1 })}>… ${grouped(first)}</button></li>` : nothing}
    ${together(found.slice(first, after)).map((group) => (group.length === 1 ? html`<li>${chip(first + group[0][1], group[0][0].text, at)}</li>` : html`
    <li class="joined"><span class="token">${written(group).trim()}</span>${group.map(([, i], part) => chip(first + i, `${part + 1}`, at))}</li>`))}
    ${after < found.length ? html`<li><button type="button" class="quiet" @click=${() => go({ position: after })}>… ${grouped(found.length - after)}</button></li>` : nothing}</ol>
    ${step(at + 1, "next.token", "→")}`;
}

/** A token as a button; of several that make up one character, its number among them. */
const chip = (i, words, at) => html`<button type="button" class="token" aria-pressed=${i === at} ?disabled=${!here.isFree()} aria-label=${here.labels.value[i]}
  title=${t("place", { n: i + 1, i })} @click=${() => go({ position: i })} .style=${heat(i)}
  @pointerenter=${() => { here.pointed.value = { query: i }; }} @pointerleave=${() => { here.pointed.value = {}; }}>${words}</button>`;

/** The colour of a token: by what it is given, in a view that says so. */
function heat(i) {
  const weight = shown().weightOn?.(i);
  return weight ? `--heat: ${Math.round(100 * Math.sqrt(weight))}%` : "";
}

const step = (position, words, arrow) => html`<button type="button" class="quiet arrow" aria-label=${t(words)}
  ?disabled=${!here.isFree() || position < 0 || position >= here.tokens.value.length} @click=${() => go({ position })}>${arrow}</button>`;

/** Progress of a reading, or a bar for a slow answer, over the line of tokens, which does not move. */
function news() {
  const running = here.progress.value;
  return html`<div class="news">
    ${running ? html`<progress max=${running.layers} value=${running.done} aria-label=${t("reading")}></progress>
      <span>${t("reading.layers", running)}</span>
      <button type="button" class="quiet" @click=${here.cancel}>${t("cancel")}</button>` : here.isSlow.value ? html`
      <progress aria-label=${t("loading")}></progress><button type="button" class="quiet" @click=${here.stopWaiting}>${t("cancel")}</button>` : nothing}</div>`;
}

/** The last error, in the page's language; and that what is below is not of the text in the box. */
function failed() {
  const message = here.failure.value;
  const { name, values } = [here.UNREACHABLE, here.STOPPED].includes(message) ? { name: message } : inWords(message ?? "");
  const isEmpty = message && !here.trace.value && here.live();
  return html`<div role="alert">${foreign()}${message ? html`<p class="failure">${t(name, values)} ${here.isPrevious.value ? html`<span class="note">${t("previous")}</span>` : nothing}
    ${isEmpty ? html`<button type="button" @click=${() => go({ ids: null, text: null, position: -1, changes: [] })}>${t("restart")}</button>` : nothing}</p>` : nothing}</div>`;
}

/** That a link was made for another model. */
function foreign() {
  const { model, layer, head } = state.value;
  const { name, config } = here.model.value;
  if ((model ?? name) === name && layer < config.n_layer && head < config.n_head) return nothing;
  return html`<p class="draft">${t("foreign", { name })}</p>`;
}

/** What is written in the box, where it is not the text that is shown. */
function unread() {
  const typed = draft.value;
  if (typed === null || here.progress.value) return nothing;
  if (!here.model.value.has_tokenizer) return misread(typed);
  const found = typed && [...typed].length <= here.model.value.max_text ? here.ask(`tokens?${new URLSearchParams({ text: typed })}`)?.tokens : undefined;
  return html`<p class="draft" role="status">${typed ? html`<span>${t("draft")}</span>` : examples()}
    ${found ? html`<span>${names(found).slice(-LIVE).map((text) => html`<span class="token symbol">${text}</span>`)}</span><span>${t("draft.tokens", { n: found.length + 1, all: here.model.value.config.n_ctx })}</span>` : nothing}
    ${/[^\s] $/.test(typed) ? html`<span>${t("draft.space")} <button type="button" class="quiet" @click=${() => { draft.value = typed.trimEnd(); }}>${t("draft.trim")}</button></span>` : nothing}
    ${here.model.value.task ? html`<span>${t("prompt.task", { task: here.model.value.task })}</span>` : nothing}${discard()}</p>`;
}

const LIVE = 16; // last tokens of what is typed that are shown
const EXAMPLES = ["The animal did not cross the street because it was too", "机器人必须服从"];

/** What an empty box offers. */
const examples = () => html`<span>${t("draft.examples")}</span>${EXAMPLES.map((text) => html`<button type="button" class="quiet" @click=${() => { draft.value = text; }}>${text}</button>`)}`;

const discard = () => html`<button type="button" class="quiet" @click=${() => { draft.value = null; }}>${t("draft.discard")}</button>`;

/** What is no token id, and what to write instead. */
function misread(typed) {
  const most = here.model.value.config.n_vocab - 1;
  const { wrong } = typedIds(typed, most + 1);
  if (wrong === undefined) return nothing;
  return html`<p class="draft" role="status"><span>${t("prompt.wrong", { most, word: wrong, example: here.ids.value.slice(0, 3).join(" ") })}</span>${discard()}</p>`;
}

/** Notice of the active interventions, and of requested ones that are not active yet. */
function changed() {
  const made = here.trace.value?.interventions ?? [];
  const { changes } = state.value;
  if (!made.length && (!changes.length || here.progress.value)) return nothing;
  return html`${made.length ? html`${t("whatif.active", { n: made.length })}${gap()}<b>${made.map(describe).join(t("sep.and"))}</b>` : nothing}
    ${here.trace.value && !here.progress.value && !areInForce() ? t("whatif.waiting", { what: changes.map(describe).join(t("sep.and")) || "–" }) : nothing}
    <button type="button" class="quiet" ?disabled=${!here.live()} @click=${() => go({ changes: [] })}>${t("whatif.undo")}</button>`;
}

begin().catch((error) => { document.body.textContent = `Cutaway: ${error.message}`; });
