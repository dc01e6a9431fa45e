// The requested interventions, which are part of the address.

import { changeToText } from "../lib/address.js";
import { grouped, minus } from "../lib/format.js";
import { FIELDS } from "../lib/interventions.js";
import { t } from "./i18n.js";
import { go, state } from "./navigation.js";
import { chosen, model, trace } from "./session.js";

/** Describe an intervention: "a head set to 0: layer 3, head 1". */
export function describe(change) {
  const fields = FIELDS.filter((name) => change[name] != null).map((name) => `${t(`whatif.${name}`)} ${brief(change[name])}`);
  const name = Object.hasOwn(model.value.interventions, change.kind) ? t(`whatif.kind.${change.kind}`) : change.kind;
  return fields.length ? `${name}${t("sep.colon")}${fields.join(t("sep.comma"))}` : name;
}

/** A number, or the first few token ids of a text. */
const brief = (value) => (Array.isArray(value) ? `${value.slice(0, 6).join(" ")}${value.length > 6 ? " …" : ""}` : Number.isInteger(value) ? grouped(value) : minus(`${value}`));

const written = (changes) => changes.map(changeToText).join(" ");

/** Whether the current trace has the requested interventions; not while one is pending, or after an error. */
export const areInForce = () => written(trace.value.interventions) === written(state.value.changes);

/** Whether all of these interventions are requested. */
export const areWanted = (changes) => changes.every((change) => wanted().has(changeToText(change)));

const wanted = () => new Set(state.value.changes.map(changeToText));

/** Add interventions; layer and head stay, also where the changed model would single out others. */
export function make(changes) {
  const { layer, head } = chosen.value;
  go({ layer, head, changes: [...state.peek().changes, ...changes.filter((change) => !wanted().has(changeToText(change)))] });
}

/** Remove interventions. */
export function takeBack(changes) {
  const gone = new Set(changes.map(changeToText));
  go({ changes: state.peek().changes.filter((change) => !gone.has(changeToText(change))) });
}
