// The words of the page, in the reader's language: `t("play.title")`, `t("layer", { n: 3 })`.

import { computed, signal } from "../vendor/signals-core.js";
import { state } from "./navigation.js";

export const LANGUAGES = { en: "English", zh: "中文" };

const words = signal({});

export const language = computed(() => {
  const wanted = state.value.language ?? navigator.language.slice(0, 2);
  return Object.hasOwn(LANGUAGES, wanted) ? wanted : "en";
});

/** Give the words: {"play.title": {en: "…", zh: "…"}, …}. */
export function setWords(all) {
  words.value = all;
}

/** The words of that name, with `{n}` and the like filled in; the name itself where there are none, so that a gap is seen. */
export function t(name, values = {}) {
  const pattern = words.value[name]?.[language.value] ?? name;
  return pattern.replace(/\{(\w+)\}/g, (whole, key) => (key in values ? String(values[key]) : whole));
}

/** What came in both languages from Python: {en, zh}, or a plain string. */
export function say(text) {
  return text !== null && typeof text === "object" ? text[language.value] : text;
}
