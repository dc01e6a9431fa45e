// The atlas of heads: a row of thumbnails for each layer. Rows are requested when they scroll into view, one at a time,
// so that the selected head does not wait for a thousand others.

import { html, nothing } from "../vendor/lit-html.js";
import { signal } from "../vendor/signals-core.js";
import { computedCells } from "../lib/cells.js";
import { paintAll } from "../lib/colours.js";
import { percent } from "../lib/format.js";
import { t } from "../state/i18n.js";
import { go, isOn } from "../state/navigation.js";
import { askTrace, chosen, ids, model } from "../state/session.js";
import { isDark } from "../state/theme.js";
import { walkHeads } from "./head-map.js";
import { numeral } from "./numeral.js";

const seen = signal(new Set()); // layers that have been in view

/** Calls its `whenSeen` when it scrolls into view, or near. */
class WhenSeen extends HTMLElement {
  #watch = new IntersectionObserver(([{ isIntersecting }]) => { if (isIntersecting) this.whenSeen(); }, { rootMargin: "100px" });

  connectedCallback() {
    this.#watch.observe(this);
  }

  disconnectedCallback() {
    this.#watch.disconnect();
  }
}

/** Thumbnail of a head's weights: `.picture.picture` is 255 times the square root of each, n × n bytes in base64. */
class HeadPicture extends HTMLElement {
  #drawn = null;

  /** {picture, tensor, isDark} */
  set picture({ picture, tensor, isDark }) {
    if (picture + isDark === this.#drawn) return;
    this.#drawn = picture + isDark;
    const weights = Array.from(atob(picture), (char) => (char.charCodeAt(0) / 255) ** 2);
    const n = Math.sqrt(weights.length);
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = n;
    canvas.getContext("2d").putImageData(new ImageData(paintAll(computedCells(tensor, weights, n), "share", {}), n, n), 0, 0);
    this.replaceChildren(canvas);
  }
}

customElements.define("when-seen", WhenSeen);
customElements.define("head-picture", HeadPicture);

/** Statistics and thumbnails of a layer's heads; undefined until the response arrives. */
export const headsOf = (layer) => askTrace(`heads?layer=${layer}&without_first=${isOn("without_first") ? 1 : 0}`)?.heads;

/** All heads of all layers; `open(layer, head)` is called when the selected head is clicked again. */
export function atlas(open) {
  const layers = Array.from({ length: model.value.config.n_layer }, (_, layer) => layer);
  let free = true; // whether another row may be requested: no earlier one is pending
  return html`<div class="atlas" role="group" aria-label=${t("heads.atlas")} @keydown=${walk}>${layers.map((layer) => {
    const wanted = free && seen.value.has(layer);
    const found = wanted ? headsOf(layer) : undefined;
    if (wanted && !found) free = false;
    return row(layer, found, open);
  })}</div>`;
}

function row(layer, found, open) {
  const whenSeen = () => { if (!seen.peek().has(layer)) seen.value = new Set(seen.peek()).add(layer); };
  const name = `${t("layer")} ${layer}`; // one text, whose space is not lost on the way to a screen reader
  return html`<when-seen .whenSeen=${whenSeen}><h3>${name}</h3><ul aria-label=${name}>${Array.from({ length: model.value.config.n_head }, (_, head) => html`
    <li>${tile(layer, head, found?.[head], open)}</li>`)}</ul></when-seen>`;
}

function tile(layer, head, found, open) {
  const isChosen = layer === chosen.value.layer && head === chosen.value.head;
  const pick = () => (isChosen ? open(layer, head) : go({ layer, head }, { replace: true }));
  return html`<button type="button" class="head" data-layer=${layer} data-head=${head} aria-pressed=${isChosen} tabindex=${isChosen ? 0 : -1} @click=${pick}>
    <span>${`${t("head")} ${head}`}</span>
    ${found ? html`<head-picture .picture=${{ picture: found.picture, tensor: shownName(layer), isDark: isDark() }} data-tensor=${shownName(layer)} data-index=${head}></head-picture>${label(found)}` : html`<head-picture></head-picture>`}
    </button>`;
}

/** Name of the tensor that a layer's thumbnails show. */
export const shownName = (layer) => (isOn("without_first") ? `without_first(attn.${layer})` : `attn.${layer}`);

/** Label of a head with the statistic behind it; the entropy if it has no label. */
function label({ statistic, layer, head, ...statistics }) {
  const value = statistics[statistic];
  const isEntropy = statistic === "entropy";
  const isLow = isEntropy && value < mostEntropy() / 2;
  return html`<small title=${t(`heads.${statistic}.name`)}>${t(`heads.${statistic}.${isLow ? "low" : "short"}`)}<br>
    ${numeral(isEntropy ? value.toFixed(2) : percent(value, 0), `${statistic}(attn.${layer})`, [head])} ${isEntropy ? t("heads.nats") : nothing}</small>`;
}

/** The mean entropy of a head that looks at all tokens alike, each query at those up to itself. */
const mostEntropy = () => ids.value.reduce((sum, _, i) => sum + Math.log(i + 1), 0) / ids.value.length;

const walk = (event) => walkHeads(event, { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] });
