// Controls of what moves: play, step and scrub. Who has asked for less motion has steps only.

import { html, nothing } from "../vendor/lit-html.js";
import { signal } from "../vendor/signals-core.js";
import { t } from "../state/i18n.js";

const PAUSE = 900; // milliseconds between two frames

const playing = signal(null); // the name of what is playing
let isSaid = false; // whether a button stepped, which, unlike the slider, does not say where to
const isCalm = matchMedia("(prefers-reduced-motion: reduce)");

/**
 * Controls of `count` frames, of which `at` is shown; `show(frame)` shows another. `title` names a frame for those who
 * cannot see it, and `isLive` says whether it goes on after the last one, which is not known before.
 */
export function player({ name, count, at, show, title = "", pause = PAUSE }) {
  const isPlaying = playing.value === name;
  const begin = () => {
    playing.value = isPlaying ? null : name;
    if (isPlaying) return;
    if (at >= count - 1) show(0);
    setTimeout(() => tick(name, pause), pause);
  };
  const step = (frame, isButton = true) => {
    playing.value = null;
    isSaid = isButton;
    show(Math.max(0, Math.min(count - 1, frame)));
  };
  return html`<div class="player" role="group" aria-label=${t("player")} data-player=${name} data-at=${at} data-count=${count} .show=${show}>
    ${isCalm.matches ? nothing : html`<button type="button" aria-pressed=${isPlaying} @click=${begin}>${isPlaying ? "❚❚" : "▶"} ${t(isPlaying ? "player.pause" : "player.play")}</button>`}
    <button type="button" aria-label=${t("player.back")} aria-disabled=${at <= 0} @click=${() => step(at - 1)}>←</button>
    <button type="button" aria-label=${t("player.step")} aria-disabled=${at >= count - 1} @click=${() => step(at + 1)}>→ ${t("player.step")}</button>
    <input type="range" aria-label=${t("player.scrub")} aria-valuetext=${title} min=${Math.min(0, at)} max=${count - 1} .value=${String(at)} @input=${(event) => step(Number(event.target.value), false)}>
    <small>${at + 1} / ${count}</small><span class="said" role="status">${isSaid && !isPlaying ? title : nothing}</span></div>`;
}

/** The next frame, if it still plays and is on the page; after the last one it stops. */
function tick(name, pause) {
  const shown = document.querySelector(`[data-player="${name}"]`);
  const at = Number(shown?.dataset.at);
  if (playing.peek() !== name) return;
  if (!shown || at >= Number(shown.dataset.count) - 1) {
    playing.value = null;
    return;
  }
  shown.show(at + 1);
  setTimeout(() => tick(name, pause), pause);
}
