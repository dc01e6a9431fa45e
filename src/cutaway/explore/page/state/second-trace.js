// Other traces beside the one that the page is about: the same text without the changes, another text.

import { PAGE, answer, trace, transport } from "./session.js";

let sequence = 0;

/** The trace of {ids or text, interventions}, undefined until it is read. A newer one ends an older one that is still read. */
export const other = (request) => answer(`trace ${JSON.stringify(request)}`, () => readOther(request, "other"));

/** The same as a promise; of two of one view the newer ends the older. */
export function readOther(request, view, signal) {
  const base = trace.peek()?.trace; // what is used last stays longest on the server
  return transport().trace({ ...request, base, view: `${PAGE} ${view}`, sequence: ++sequence }, () => {}, signal);
}

/** JSON about the trace of that name, such as "surprise". */
export const askOf = (id, path) => answer(`${id}/${path}`, () => transport().json(`traces/${id}/${path}`));

/** A tensor of the trace of that name by its selection: {shape, data}. */
export const tensorOf = (id, selection) =>
  answer(`${id}|${selection}`, async () => (await transport().tensors(id, [selection]))[selection]);
