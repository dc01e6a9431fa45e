// Names of the places between two parts of the model.

import { html } from "../vendor/lit-html.js";
import { t } from "../state/i18n.js";

/** A boundary, "resid.mid.3", in words and by its name. */
export function boundary(name) {
  const [, kind, layer] = name.split(".");
  return html`${t(`output.at.${kind}`, { layer })} <code>${name}</code>`;
}
