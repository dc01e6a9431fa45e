// The words that a view uses and a newcomer does not know, each in one sentence.

import { html, nothing } from "../vendor/lit-html.js";
import { t } from "../state/i18n.js";

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
  music: ["attention", "head", "softmax", "temperature"],
  parameters: ["embedding", "block", "layernorm"],
  article: ["token", "attention", "head", "qkv", "mask", "cache"],
};

/** The words of a view, folded; nothing for a view without any. */
export const glossary = (view) => (TERMS[view] ? html`<details class="glossary"><summary>${t("glossary")}</summary>
  <dl>${TERMS[view].map((name) => {
    const [word, ...meaning] = t(`term.${name}`).split(/[:：] ?/);
    return html`<div><dt>${word}</dt><dd>${meaning.join("：")}</dd></div>`;
  })}</dl></details>` : nothing);
