// Traces beside the current one: the same text without interventions, or another text.

import { PAGE, answer, trace, transport } from "./session.js";

let sequence = 0;

/** The trace of {ids or text, interventions}, undefined until it is computed. A newer request cancels a pending one. */
export const other = (request) => answer(`trace ${JSON.stringify(request)}`, (signal) => readOther(request, "other", signal));

/** The same as a promise; a newer request of a view cancels a pending one. */
export function readOther(request, view, signal) {
  const base = trace.peek()?.trace; // also marks it as used in the server's cache
  return transport().trace({ ...request, base, view: `${PAGE} ${view}`, sequence: ++sequence }, () => {}, signal);
}

/** JSON about a trace by name, such as "surprisal". */
export const askOf = (id, path) => answer(`${id}/${path}`, (signal) => transport().json(`traces/${id}/${path}`, signal));

/** A tensor slice of a trace by name: {shape, data, origin}. */
export const tensorOf = (id, selection) =>
  answer(`${id}|${selection}`, async (signal) => (await transport().tensors(id, [selection], signal))[selection]);
