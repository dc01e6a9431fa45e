// Translations: `t("play.title")`, `t("layer", { n: 3 })`.

import { computed, signal } from "../vendor/signals-core.js";
import { grouped } from "../lib/format.js";
import { state } from "./navigation.js";

export const LANGUAGES = { en: "English", zh: "中文" };

const words = signal({});

export const language = computed(() => {
  const wanted = state.value.language ?? navigator.language.slice(0, 2);
  return Object.hasOwn(LANGUAGES, wanted) ? wanted : "en";
});

/** Set the translations: {"play.title": {en: "…", zh: "…"}, …}; a `kind` of model has "play.title.kind" instead, where there is one. */
export function setWords(all, kind) {
  words.value = Object.fromEntries(Object.keys(all).map((name) => [name, all[`${name}.${kind}`] ?? all[name]]));
}

/** Translate a key, with `{n}` filled in, a whole number with its thousands apart and a token in quotes; a missing key is returned as it is, so that it shows. */
export function t(name, values = {}) {
  const pattern = words.value[name]?.[language.value] ?? name;
  return pattern.replace(/\{(\w+)\}/g, (whole, key) => (key in values ? filled(key, values[key]) : whole));
}

const TOKENS = ["token", "query", "key", "next", "start", "before", "after", "target", "source", "piece"];

const filled = (key, value) => (TOKENS.includes(key) ? `“${value}”` : Number.isInteger(value) ? grouped(value) : String(value));

/** What stands between two sentences. */
export const gap = () => (language.value === "zh" ? "" : " ");

/** Choose the language of a text from Python: {en, zh}, or a plain string. */
export function say(text) {
  return text !== null && typeof text === "object" ? text[language.value] : text;
}
