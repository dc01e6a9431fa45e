// Piano rolls: notes that the keyboard reaches one by one, and arcs from the token that is read to what heads look at.

import { html, nothing, svg } from "../vendor/lit-html.js";
import { headColour } from "../lib/colours.js";
import { percent } from "../lib/format.js";
import { isBlack, neighbour, pitchName } from "../lib/pitches.js";
import { t } from "../state/i18n.js";
import { numeral } from "./numeral.js";
import { picture } from "./svg-file.js";
import { meter, room, scrolling } from "./widgets.js";

const ROW = 8; // pixels of a semitone
const LEFT = 40; // for the names of pitches
const SKY = 70; // above the notes, for arcs
const BELOW = 22; // for the seconds
const WIDEST = 9; // pixels of the weight 1
const LEAST = 0.01; // of a head's weight, from which it has an arc
const SLOWEST = 24; // pixels a second, at least

/** "C4, 0.50 s, velocity 80" */
const noteName = ([onset, , pitch, velocity]) => t("music.note", { pitch: pitchName(pitch), seconds: onset.toFixed(2), velocity });

/**
 * A roll of `notes`. With `seconds`, the time of the token that is read, and `query`, its note (-1: none), `arcs` go from
 * there: {head, note, weight, tensor, index}. `pick(note)` makes notes buttons; `beside` are the pixels of what stands beside it.
 */
export function pianoRoll({ title, notes, seconds = 0, query = -1, arcs = [], pick = null, beside = 0 }) {
  const end = Math.max(1, ...notes.map(([, offset]) => offset));
  const scale = Math.max(SLOWEST, Math.min(240, (room() - beside - LEFT - 12) / end));
  const pitches = notes.map((note) => note[2]);
  const high = Math.max(66, ...pitches) + 1;
  const low = Math.min(60, ...pitches) - 1;
  const top = arcs.length ? SKY : 4;
  const bottom = top + ROW * (high - low + 1);
  const x = (time) => LEFT + scale * time;
  const y = (pitch) => top + ROW * (high - pitch);
  const width = x(end) + 12;
  const rows = Array.from({ length: high - low + 1 }, (_, i) => high - i);
  const step = [1, 2, 5, 10, 30].find((each) => each * scale >= 44) ?? 60;
  const from = query >= 0 ? [x(notes[query][0]), y(notes[query][2]) + ROW / 2] : [x(seconds), bottom];
  const entry = Math.max(0, query); // the note that the Tab key reaches
  return html`<figure><figcaption>${title}</figcaption>${picture("roll", title, scrolling(title, html`
    <svg class="roll" width=${width} height=${bottom + BELOW} role="group" aria-label=${title} @keydown=${(event) => move(event, notes, pick)}>
      ${rows.filter(isBlack).map((pitch) => svg`<rect class="black" x=${LEFT} y=${y(pitch)} width=${width - LEFT} height=${ROW}></rect>`)}
      ${rows.filter((pitch) => pitch % 12 === 0).map((pitch) => svg`<text class="quiet" text-anchor="end" x=${LEFT - 6} y=${y(pitch) + ROW}>${pitchName(pitch)}</text>`)}
      ${Array.from({ length: Math.floor(end / step) + 1 }, (_, i) => svg`<path class="second" d="M${x(i * step)} ${top}V${bottom}"></path>
        <text class="quiet" text-anchor="middle" x=${x(i * step)} y=${bottom + 15}>${i * step} s</text>`)}
      ${notes.map((note, i) => svg`<rect class="note ${i === query ? "chosen" : ""}" x=${x(note[0])} y=${y(note[2])} width=${Math.max(2, scale * (note[1] - note[0]) - 1)} height=${ROW - 1}
        rx="1.5" fill-opacity=${0.3 + (0.7 * note[3]) / 127} role=${pick ? "button" : "img"} aria-label=${noteName(note)} aria-pressed=${pick ? String(i === query) : nothing}
        tabindex=${i === entry ? 0 : -1} data-note=${i} @click=${() => pick?.(i)}><title>${noteName(note)}</title></rect>`)}
      ${arcs.filter(({ weight }) => weight >= LEAST).map((arc) => curve(arc, notes, from, [x(notes[arc.note][0]), y(notes[arc.note][2]) + ROW / 2]))}
      <path class="playhead" d="M${LEFT} ${top}V${bottom}" data-scale=${scale}></path>
    </svg>`))}</figure>`;
}

function curve({ head, note, weight, tensor, index }, notes, [x, y], [toX, toY]) {
  const height = Math.min(y, toY) - 14 - Math.min(60, Math.abs(x - toX) / 5);
  return svg`<path class="arc" fill="none" d="M${x} ${y}Q${(x + toX) / 2} ${height} ${toX} ${toY}" stroke=${headColour(head)} stroke-width=${0.3 + WIDEST * weight}
    data-tensor=${tensor} data-index=${index.join(",")}><title>${t("music.arc", { head, weight: percent(weight, 1), note: noteName(notes[note]) })}</title></path>`;
}

/** Arrow keys, Home and End move between notes; Enter and the space bar choose one. */
function move(event, notes, pick) {
  const at = Number(event.target.dataset?.note ?? NaN);
  if (Number.isNaN(at)) return;
  if (["Enter", " "].includes(event.key)) pick?.(at);
  else if (/^(Arrow(Left|Right|Up|Down)|Home|End)$/.test(event.key)) {
    const next = event.currentTarget.querySelector(`[data-note="${neighbour(notes, at, event.key)}"]`);
    next.focus();
  } else return;
  event.preventDefault();
}

/** For each head, {head, rest, tensor, index}, how much of its weight is on arcs, and how much elsewhere. */
export const headStrips = (heads) => html`<ul class="bars heads-strips" aria-label=${t("music.strips")}>${heads.map(({ head, rest, tensor, index, more = nothing }) => html`<li>
  <span>${headKey(head)} ${t("music.head", { head })}</span>${meter(1 - rest)}
  <span>${numeral(percent(1 - rest, 1), `1 - ${tensor}[${index.join(",")}]`, [])} ${t("music.on")}, ${numeral(percent(rest, 1), tensor, index)} ${t("music.elsewhere")}</span>${more}</li>`)}</ul>`;

/** A square in the colour of a head. */
export const headKey = (head) => html`<svg class="swatch whole" viewBox="0 0 10 10" aria-hidden="true">${svg`<rect width="10" height="10" fill=${headColour(head)}></rect>`}</svg>`;
