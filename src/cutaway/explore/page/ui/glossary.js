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

/** A text in which each word of the view's glossary is dotted once, and explained where it is pointed at or has the focus. */
export function explained(view, text) {
  const found = (TERMS[view] ?? []).map((term) => ({ term, ...entry(term) })).map((each) => ({ ...each, at: first(text, each.names) })).filter(({ at }) => at);
  const parts = [];
  let end = 0;
  for (const { term, meaning, at } of found.sort((a, b) => a.at.index - b.at.index)) {
    if (at.index < end) continue;
    parts.push(text.slice(end, at.index), html`<dfn tabindex="0" aria-describedby="term-${term}">${at[0]}<span role="tooltip" id="term-${term}">${meaning}</span></dfn>`);
    end = at.index + at[0].length;
  }
  return html`${parts}${text.slice(end)}`;
}

/** Where one of the names stands first: in English as a word, also in the plural. */
function first(text, names) {
  const [before, after] = language.value === "zh" ? ["(?<!数)", ""] : ["(?<![\\w-])", "(?:e?s)?(?![\\w-])"];
  const places = names.map((name) => new RegExp(`${before}${name}${after}`, "i").exec(text)).filter(Boolean);
  return places.sort((a, b) => a.index - b.index)[0];
}

/** The words of a view, folded; nothing for a view without any. */
export const glossary = (view) => (TERMS[view] ? html`<details class="glossary"><summary>${t("glossary")}</summary>
  <dl>${TERMS[view].map((name) => {
    const { word, meaning } = entry(name);
    return html`<div><dt>${word}</dt><dd>${meaning}</dd></div>`;
  })}</dl></details>` : nothing);
