// How the page gets at the model. Everything it asks is a path under "api/" or "page/"; `get` brings what stands there:
// from the server that the page came from, or from inside an exported file, which holds the answers to some questions.

import { numbersOf, withNumbers } from "./numbers-of-file.js";
import { readTensors } from "./safetensors.js";

const TOGETHER = 256; // selections that the server takes in one question

/** What went wrong, in the server's words; `status` is HTTP's, 0 where the server did not answer. */
export class Refused extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

/** A way to the model, over `bring(path, options)`, which gives a Response or throws Refused. */
function over(bring, live) {
  const read = new Map(); // the traces that were read: name -> what to post to read one again

  /** What stands at a path. Traces that the server has let go of meanwhile are read again, once. */
  async function get(path, options) {
    try {
      return await bring(path, options);
    } catch (error) {
      const named = [...read.keys()].filter((name) => path.includes(name));
      if (!live || error.status !== 404 || !named.length) throw error;
      for (const name of named) await trace(read.get(name));
      return bring(path, options);
    }
  }

  /** A new trace; `progress(done, layers)` on the way. */
  async function trace(request, progress, signal) {
    for await (const line of lines(await post(get, "api/traces", request, signal))) {
      if (line.cancelled) throw new DOMException("a newer trace was asked for", "AbortError");
      if (!line.trace) progress?.(line.layers_done, line.layers);
      else {
        read.set(line.trace, { ids: line.ids, interventions: line.interventions, against: request.against });
        return line;
      }
    }
    throw new Refused("the server ended early", 500);
  }

  const json = async (path) => (await get(path)).json();
  const tensors = async (path) => readTensors(await (await get(path)).arrayBuffer());
  return {
    live, // whether new traces, texts and changes can be asked for
    trace,
    words: (name) => json(`page/i18n/${name}.json`),
    colours: () => json("page/colours.json"),
    json: (path) => json(`api/${path}`),

    /** Tensors by their selections, such as "attn.5[1,:,:]": {selection: {shape, data}}. */
    async tensors(trace, selections) {
      const most = live ? TOGETHER : 1, groups = []; // a file has each by itself
      for (let i = 0; i < selections.length; i += most) groups.push(selections.slice(i, i + most));
      const asked = groups.map((group) => tensors(`api/traces/${trace}/tensors?${query({ sel: group, enc: "f32" })}`));
      return Object.assign({}, ...(await Promise.all(asked)));
    },

    /** Tokens as they are written. */
    async *generate(request, signal) {
      yield* lines(await post(get, "api/generate", request, signal));
    },

    post: async (path, body) => (await post(get, `api/${path}`, body)).json(),
    figureFile: (trace, id, choices) => `api/traces/${trace}/figures/${id}?${query(choices)}`,
  };
}

/** The server that the page came from. */
export const server = over(async (path, options) => {
  const answer = await fetch(path, options).catch(gone);
  if (!answer.ok) throw new Refused(await reason(answer), answer.status);
  return answer;
}, true);

/** A file's own answers, by "path?name=value&…" as it reads without escapes: a Map of bytes. */
export const recorded = (answers) => {
  const find = (path) => {
    const [place, asked] = path.split("?");
    const written = asked && [...new URLSearchParams(asked)].map(([name, value]) => `${name}=${value}`).join("&");
    return answers.get(written ? `${place}?${written}` : place);
  };
  const parsed = (bytes) => JSON.parse(new TextDecoder().decode(bytes)), start = parsed(answers.get("start")), numbers = numbersOf(answers.get("numbers"));
  return Object.assign(start, over(async (path) => {
    const found = find(path);
    if (found === undefined) throw new Refused(`this file does not hold ${path}`, 404);
    return new Response(path.includes("/figures/") ? JSON.stringify(withNumbers(parsed(found), numbers)) : found);
  }, false));
};

/** {sel: ["a", "b"], enc: "f32"} -> "sel=a&sel=b&enc=f32" */
function query(choices) {
  const pairs = Object.entries(choices).flatMap(([name, value]) => [value].flat().map((one) => [name, String(one)]));
  return new URLSearchParams(pairs).toString();
}

function post(get, path, body, signal) {
  return get(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body), signal });
}

/** Nothing came, or no more: unless it was we who stopped, nobody is there. */
function gone(error) {
  throw error.name === "AbortError" ? error : new Refused("the server does not answer", 0);
}

async function reason(answer) {
  try {
    return (await answer.json()).error;
  } catch {
    return `${answer.status} ${answer.statusText}`;
  }
}

/** Lines of JSON as they come; throws what a line says went wrong. */
async function* lines(answer) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read().catch(gone);
    const parts = (rest + (value ?? "")).split("\n");
    rest = done ? "" : parts.pop();
    for (const line of parts.filter(Boolean).map((part) => JSON.parse(part))) {
      if (line.error) throw new Refused(line.error, 400);
      yield line;
    }
    if (done) return;
  }
}
