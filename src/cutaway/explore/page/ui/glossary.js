// The words that a view uses and a newcomer does not know, each in one sentence.

import { html, nothing } from "../vendor/lit-html.js";
import { language, t } from "../state/i18n.js";

const TERMS = {
  overview: ["token", "vector", "block", "attention", "head", "lens", "logit"],
  play: ["token", "logit", "softmax", "temperature", "nat"],
  loop: ["token", "cache", "qkv", "logit"],
  tokens: ["token", "vocabulary"],
  input: ["vector", "embedding", "residual"],
  attention: ["attention", "head", "qkv", "softmax", "mask", "residual"],
  heads: ["head", "attention", "entropy", "qkv"],
  mlp: ["unit", "gelu", "layernorm", "residual", "logit"],
  stack: ["residual", "block", "lens", "layernorm"],
  output: ["logit", "softmax", "layernorm", "lens", "boundary", "embedding"],
  whatif: ["loss", "nat", "head", "mask", "residual", "layernorm"],
  compare: ["kl", "lens", "boundary", "nat"],
  translation: ["token", "attention", "head", "softmax", "nat"],
  music: ["attention", "head", "softmax", "temperature"],
  parameters: ["embedding", "block", "layernorm"],
  article: ["token", "attention", "head", "qkv", "mask", "cache"],
};

const ENTRY = /^((?:[^:：（(]|[（(][^）)]*[）)])*)[:：] ?(.*)$/;

/** {word, names, meaning} of a term: its entry, and the words by which a text may name it. */
function entry(term) {
  const [, word, meaning] = ENTRY.exec(t(`term.${term}`));
  return { word, names: word.replace(/[（(][^）)]*[）)]/g, "").split(/[,、] ?/), meaning };
}

const OTHERS = ["数值"]; // words that hold a name and mean something else

/** A text in which each term of the view is dotted once, by the longest name that stands there, and explained on hover or focus. */
export function explained(view, text) {
  const known = new Map((TERMS[view] ?? []).map((term) => ({ term, ...entry(term) })).flatMap((each) => each.names.map((name) => [name.toLowerCase(), each])));
  const words = [...known.keys(), ...OTHERS].sort((a, b) => b.length - a.length).join("|");
  const wanted = language.value === "zh" ? `(${words})` : `(?<![\\w-])(${words})(?:e?s)?(?![\\w-])`; // in English a word, also in the plural
  const parts = [];
  let end = 0;
  for (const { 0: found, 1: name, index } of text.matchAll(new RegExp(wanted, "gi"))) {
    const { term, names, meaning } = known.get(name.toLowerCase()) ?? {};
    if (!term) continue;
    for (const each of names) known.delete(each.toLowerCase());
    parts.push(text.slice(end, index), html`<dfn tabindex="0" aria-describedby="term-${term}">${found}<span role="tooltip" id="term-${term}">${meaning}</span></dfn>`);
    end = index + found.length;
  }
  return html`${parts}${text.slice(end)}`;
}

/** The words of a view, folded; nothing for a view without any. */
export const glossary = (view) => (TERMS[view] ? html`<details class="glossary"><summary>${t("glossary")}</summary>
  <dl>${TERMS[view].map((name) => {
    const { word, meaning } = entry(name);
    return html`<div><dt>${word}</dt><dd>${meaning}</dd></div>`;
  })}</dl></details>` : nothing);
