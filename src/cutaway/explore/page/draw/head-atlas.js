// The atlas of heads: a row of small pictures for each layer. A row is asked for when it comes into sight, and one row at
// a time, so that the head that is looked at closely need not wait for a thousand others.

import { html, nothing } from "../vendor/lit-html.js";
import { signal } from "../vendor/signals-core.js";
import { t } from "../app/i18n.js";
import { askTrace, chosen, ids, model, thumbnails } from "../app/model.js";
import { go } from "../app/state.js";
import { colours } from "./colours.js";
import { numeral } from "./numbers.js";

// The server's names of what a head gives most of its weight to, and the statistic that each is called after.
const LABELS = { "first token": "first", "previous token": "previous", "duplicate token": "duplicate", induction: "induction" };

const seen = signal(new Set()); // layers that have come into sight

/** Calls its `whenSeen` when it first comes into sight, or near. */
class WhenSeen extends HTMLElement {
  #watch = new IntersectionObserver(([{ isIntersecting }]) => { if (isIntersecting) this.whenSeen(); }, { rootMargin: "100px" });

  connectedCallback() {
    this.#watch.observe(this);
  }

  disconnectedCallback() {
    this.#watch.disconnect();
  }
}

/** A head's weights as a picture: `.picture` is {levels, n}, 255 times the square root of each weight. */
class HeadPicture extends HTMLElement {
  #drawn = null;

  set picture(picture) {
    if (picture.levels === this.#drawn?.levels) return;
    this.#drawn = picture;
    const canvas = document.createElement("canvas"), { levels, n } = picture, table = colours("share");
    canvas.width = canvas.height = n;
    const ink = canvas.getContext("2d"), image = ink.createImageData(n, n);
    for (let i = 0; i < levels.length; i++) {
      const at = 3 * levels[i];
      for (let c = 0; c < 3; c++) image.data[4 * i + c] = table[at + c];
      image.data[4 * i + 3] = 255;
    }
    ink.putImageData(image, 0, 0);
    this.replaceChildren(canvas);
  }
}

customElements.define("when-seen", WhenSeen);
customElements.define("head-picture", HeadPicture);

/** All heads of all layers; `open(layer, head)` is called for a head that is chosen and picked once more. */
export function atlas({ withoutFirst, open }) {
  const layers = Array.from({ length: model.value.config.n_layer }, (_, layer) => layer);
  let free = true; // whether a row may be asked for: none before it is on its way
  return html`<div class="atlas" role="group" aria-label=${t("heads.atlas")} @keydown=${walk}>${layers.map((layer) => {
    const wanted = free && seen.value.has(layer), pictures = wanted ? thumbnails(layer) : undefined;
    const found = pictures && askTrace(`heads?layer=${layer}`)?.heads;
    if (wanted && !found) free = false;
    return row(layer, pictures, found, withoutFirst, open);
  })}</div>`;
}

function row(layer, pictures, found, withoutFirst, open) {
  const whenSeen = () => { if (!seen.peek().has(layer)) seen.value = new Set(seen.peek()).add(layer); };
  return html`<when-seen .whenSeen=${whenSeen}><h3>${t("layer")} ${layer}</h3><ul>${Array.from({ length: model.value.config.n_head }, (_, head) => html`
    <li>${tile(layer, head, pictures && levels(pictures, head, withoutFirst), found?.[head], open)}</li>`)}</ul></when-seen>`;
}

function tile(layer, head, picture, found, open) {
  const isChosen = layer === chosen.value.layer && head === chosen.value.head;
  const pick = () => (isChosen ? open(layer, head) : go({ layer, head }, { replace: true }));
  return html`<button type="button" class="head" data-layer=${layer} data-head=${head} aria-pressed=${isChosen} tabindex=${isChosen ? 0 : -1} @click=${pick}>
    <span>${t("head")} ${head}</span>
    ${picture ? html`<head-picture .picture=${picture} data-tensor=${`attn.${layer}`} data-index=${head}></head-picture>` : html`<head-picture></head-picture>`}
    ${found ? label(found) : nothing}</button>`;
}

/** What the head may be called, with the number that says so; without a name, how spread its weight is. */
function label({ label: name, layer, head, ...statistics }) {
  const of = LABELS[name] ?? "entropy";
  return html`<small>${t(`heads.${of}.short`)} ${numeral(statistics[of].toFixed(2), `${of}(attn.${layer})`, [head])}</small>`;
}

const cut = new WeakMap(); // pictures -> what they are without the first token, by head

function levels({ shape, data }, head, withoutFirst) {
  const n = shape[1], all = data.subarray(head * n * n, (head + 1) * n * n);
  if (!withoutFirst) return { levels: all, n };
  if (!cut.has(data)) cut.set(data, new Map());
  const kept = cut.get(data);
  if (!kept.has(head)) kept.set(head, leaveFirst(all, n, n === ids.value.length));
  return { levels: kept.get(head), n };
}

/** The levels without the first column; where a cell is one weight, each row's others sum to 1 again. */
function leaveFirst(all, n, isExact) {
  const shown = all.slice();
  for (let row = 1; row < n; row++) {
    const weights = shown.subarray(row * n, (row + 1) * n);
    weights[0] = 0;
    const rest = weights.reduce((sum, level) => sum + (level / 255) ** 2, 0);
    if (isExact && rest > 0) weights.forEach((level, key) => { weights[key] = Math.min(255, Math.round(level / Math.sqrt(rest))); });
  }
  return shown;
}

/** Arrow keys go from head to head and from layer to layer. */
function walk(event) {
  const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  if (!(event.key in moves)) return;
  event.preventDefault();
  const { layer, head } = chosen.value, { n_layer, n_head } = model.value.config, [down, across] = moves[event.key];
  const within = (value, end) => Math.max(0, Math.min(end - 1, value));
  const next = { layer: within(layer + down, n_layer), head: within(head + across, n_head) }, group = event.currentTarget;
  go(next, { replace: true });
  group.querySelector(`[data-layer="${next.layer}"][data-head="${next.head}"]`).focus();
}
