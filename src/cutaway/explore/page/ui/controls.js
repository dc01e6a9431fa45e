// Form controls that views share: layer, head, position and checkboxes.

import { html } from "../vendor/lit-html.js";
import { t } from "../state/i18n.js";
import { go, goMore, isOn } from "../state/navigation.js";
import { chosen, hasHeads, model, position, tokens } from "../state/session.js";

function number(name, value, count, label) {
  const change = (event) => {
    const wanted = Number(event.target.value);
    if (event.target.value !== "" && Number.isInteger(wanted) && wanted >= 0 && wanted < count) go({ [name]: wanted }, { replace: true });
  };
  const settle = (event) => { // what was typed last, made to fit
    const wanted = event.target.value === "" ? value : Math.max(0, Math.min(count - 1, Math.round(event.target.valueAsNumber)));
    event.target.value = String(wanted);
    go({ [name]: wanted }, { replace: true });
  };
  return html`<label class="choice">${label}
    <input type="number" ?disabled=${!hasHeads()} min="0" max=${count - 1} .value=${String(value)} @input=${change} @change=${settle}>
    <small>0 … ${count - 1}</small></label>`;
}

export const chooseLayer = () => number("layer", chosen.value.layer, model.value.config.n_layer, t("layer"));
const chooseHead = () => number("head", chosen.value.head, model.value.config.n_head, t("head"));
const choosePosition = () => number("position", position.value, tokens.value.length, t("position"));

/** A row of the controls that `what` names. */
export function choices(what) {
  return html`<div class="choices">
    ${what.includes("layer") ? chooseLayer() : ""}${what.includes("head") ? chooseHead() : ""}
    ${what.includes("position") ? choosePosition() : ""}</div>`;
}

/** Checkbox for a setting of the view. */
export const checkbox = (name, label) => html`<label class="choice"><input type="checkbox" .checked=${isOn(name)}
  @change=${(event) => goMore({ [name]: event.target.checked ? "1" : null })}> ${label}</label>`;

export const MOST_SEED = 2 ** 31;

export const chooseSeed = (seed) => html`<label class="choice">${t("play.seed")} <input type="number" min="0" max=${MOST_SEED - 1} .value=${String(seed)}
  @change=${(event) => goMore({ seed: event.target.value })}></label>`;

/** Slider for a setting of the view. */
export const slider = (label, name, value, min, max, step) => html`<label class="slider">${t(label)} <span class="number">${value}</span>
  <input type="range" min=${min} max=${max} step=${step} .value=${String(value)} @input=${(event) => goMore({ [name]: event.target.value })}></label>`;

/** Box for a text, with its line breaks. */
export const textBox = (label, name, value) => html`<label class="choice wide">${label} <textarea name=${name} rows="1" autocomplete="off"
  spellcheck="false" maxlength="20000" .value=${value} @keydown=${enterSubmits}></textarea></label>`;

/** In a form's box of text, Enter submits; Shift+Enter inserts a new line. */
export function enterSubmits(event) {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  event.target.form.requestSubmit();
}
