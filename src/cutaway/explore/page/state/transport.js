// Transports of the API: every request is for a path under "api/" or "page/". The HTTP transport sends it to the server
// that the page came from; the offline transport finds the recorded response inside an exported file.

import { unpackFigure, unpackNumbers, unpackTensor } from "../lib/packed-numbers.js";
import { readTensors } from "../lib/safetensors.js";

const MAX_SLICES = 256; // that the server accepts in one request

/** An error response; `status` is HTTP's, or 0 if the server did not respond. */
class ApiError extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

/** Make a transport of `request(path, options)`, which returns a Response or throws ApiError. */
function makeTransport(request, live) {
  const posted = new Map(); // name of each trace -> the body to post to compute it again

  /** Request a path. If the server has evicted a trace that the path names, post it again, once. */
  async function get(path, options) {
    try {
      return await request(path, options);
    } catch (error) {
      const named = [...posted.keys()].filter((name) => path.includes(name));
      if (!live || error.status !== 404 || !named.length) throw error;
      for (const name of named) await trace(posted.get(name));
      return request(path, options);
    }
  }

  /** Compute a trace; `progress(done, layers)` is called after each layer. */
  async function trace(body, progress, signal) {
    for await (const line of lines(await post(get, "api/traces", body, signal))) {
      if (line.cancelled) throw new DOMException("superseded by a newer trace", "AbortError");
      if (!line.trace) progress?.(line.layers_done, line.layers);
      else {
        posted.set(line.trace, { ids: line.ids, interventions: line.interventions, against: body.against });
        return line;
      }
    }
    throw new ApiError("the server closed the connection early", 500);
  }

  const json = async (path, signal) => (await get(path, { signal })).json();
  const tensors = async (path, signal) => readTensors(await (await get(path, { signal })).arrayBuffer());
  return {
    live, // whether new traces, texts and interventions can be requested
    trace,
    words: () => json("page/words.json"),
    colours: () => json("page/colours.json"),
    json: (path, signal) => json(`api/${path}`, signal),

    /** Tensors by their slices, such as "attn.5[1,:,:]": {slice: {shape, data}}. */
    async tensors(trace, slices, signal) {
      const most = live ? MAX_SLICES : 1; // a file records the response to each slice by itself
      const groups = [];
      for (let i = 0; i < slices.length; i += most) groups.push(slices.slice(i, i + most));
      const responses = groups.map((group) => tensors(`api/traces/${trace}/tensors?${query({ sel: group, enc: "f32" })}`, signal));
      return Object.assign({}, ...(await Promise.all(responses)));
    },

    /** Generated tokens, one at a time. */
    async *generate(body, signal) {
      yield* lines(await post(get, "api/generate", body, signal));
    },

    /** A trace's page as one file, HTML; `progress(done, parts)` is called before each part is computed. */
    async page(trace, choices, progress, signal) {
      for await (const line of lines(await get(`api/traces/${trace}/page?${query(choices)}`, { signal }))) {
        if (line.cancelled) break; // by a server that is stopped
        if (line.page) return line.page;
        progress(line.parts_done, line.parts);
      }
      throw new ApiError("the server closed the connection early", 500);
    },

    post: async (path, body) => (await post(get, `api/${path}`, body)).json(),
    figureFile: (trace, id, choices) => `api/traces/${trace}/figures/${id}?${query(choices)}`,
  };
}

/** The transport to the server that the page came from. */
export const httpTransport = makeTransport(async (path, options) => {
  const response = await fetch(path, options).catch(networkError);
  if (!response.ok) throw new ApiError(await errorMessage(response), response.status);
  return response;
}, true);

/** The transport of an exported file: a Map of recorded response bodies, by "path?name=value&…" without escapes. */
export function offlineTransport(responses) {
  const parse = (bytes) => JSON.parse(new TextDecoder().decode(bytes));
  const numbers = unpackNumbers(responses.get("numbers"));
  return Object.assign(parse(responses.get("start")), makeTransport(async (path) => {
    const found = responses.get(unescaped(path));
    if (found === undefined) throw new ApiError(`this file does not contain ${path}`, 404);
    if (path.includes("/figures/")) return new Response(JSON.stringify(unpackFigure(parse(found), numbers)));
    return new Response(path.includes("/tensors?") ? unpackTensor(parse(found), numbers) : found);
  }, false));
}

/** "path?sel=ids%5B0%5D" -> "path?sel=ids[0]" */
function unescaped(path) {
  const [address, parameters] = path.split("?");
  if (!parameters) return address;
  return `${address}?${[...new URLSearchParams(parameters)].map(([name, value]) => `${name}=${value}`).join("&")}`;
}

/** {sel: ["a", "b"], enc: "f32"} -> "sel=a&sel=b&enc=f32" */
function query(choices) {
  const pairs = Object.entries(choices).flatMap(([name, value]) => [value].flat().map((one) => [name, String(one)]));
  return new URLSearchParams(pairs).toString();
}

function post(get, path, body, signal) {
  return get(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body), signal });
}

/** Rethrow our own abort; any other failure means that the server is unreachable. */
function networkError(error) {
  throw error.name === "AbortError" ? error : new ApiError("the server does not respond", 0);
}

async function errorMessage(response) {
  try {
    return (await response.json()).error;
  } catch {
    return `${response.status} ${response.statusText}`;
  }
}

/** Documents of a JSON Lines response as they arrive; throws the error that a line reports. */
async function* lines(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read().catch(networkError);
    const parts = (value ?? "").split("\n"); // without `rest`, which of a page is megabytes
    parts[0] = rest + parts[0];
    rest = done ? "" : parts.pop();
    for (const line of parts.filter(Boolean).map((part) => JSON.parse(part))) {
      if (line.error) throw new ApiError(line.error, 400);
      yield line;
    }
    if (done) return;
  }
}
