// The surprisal of the tokens of the current text, in nats. Of a text that goes on only that of the new tokens is asked for:
// what comes later changes nothing before it, unless the model is changed.

import { askTrace, ids, trace } from "./session.js";

let known = { ids: [], nats: [] }; // of the last text

/** One number for each token after the first; undefined until they have arrived. */
export function surprisal() {
  if (trace.value.interventions.length) return askTrace("surprisal")?.nats;
  const now = ids.value;
  const same = now.findIndex((id, i) => id !== known.ids[i]);
  const first = same < 0 ? now.length : Math.max(1, same); // the first token whose surprisal is not known
  if (first === now.length) return known.nats.slice(0, now.length - 1);
  const found = askTrace(first > 1 ? `surprisal?first=${first}` : "surprisal")?.nats;
  if (!found) return undefined;
  known = { ids: now, nats: [...known.nats.slice(0, first - 1), ...found] };
  return known.nats;
}
