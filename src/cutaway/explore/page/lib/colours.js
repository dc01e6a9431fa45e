// Colour scales, from the table that Python's figures use.

import { firstLater } from "./cells.js";

let table = null;
const scales = {};

// On dark paper nothing is dark and much is light: the scale of one sign turned round, that of two signs with a dark middle.
const DARK_SIGNED = ["#ffe0b0", "#fdb863", "#d9801a", "#8a4a12", "#262a32", "#1b4a7d", "#3c8dcb", "#8cc6ea", "#d5eaf8"];
const DARK_MASKED = "#22252c";

/** Set the table (colours.json): two scales, and colours by name; and whether the paper is dark. */
export function setColours(colours, isDark = false) {
  table = isDark ? { ...colours, masked: DARK_MASKED } : colours;
  scales.sequential = interpolate((isDark ? colours.sequential.toReversed() : colours.sequential).map(channels));
  scales.signed = interpolate((isDark ? DARK_SIGNED : colours.signed).map(channels));
}

export const colour = (name) => table[name] ?? table.plain;

/** The colour of a head; every eighth has the same. */
export const headColour = (head) => table.heads[head % table.heads.length];

const channels = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));

/** Interpolate 256 colours between the stops: Uint8Array of 256 × 3. */
function interpolate(stops) {
  const colours = new Uint8Array(256 * 3);
  for (let i = 0; i < 256; i++) {
    const place = (i / 255) * (stops.length - 1);
    const low = Math.min(Math.floor(place), stops.length - 2);
    for (let c = 0; c < 3; c++) {
      const value = stops[low][c] + (place - low) * (stops[low + 1][c] - stops[low][c]);
      colours[3 * i + c] = roundEven(value);
    }
  }
  return colours;
}

/** Round half to even, as NumPy does. */
export function roundEven(value) {
  const down = Math.floor(value);
  const rest = value - down;
  return rest === 0.5 ? down + (down % 2) : Math.round(value);
}

const usable = (value) => Number.isFinite(value) && value > -1e9; // masked scores are below

/** Minimum and maximum of the numbers that are not masked; 0 and 0 if there are none. */
export function extent(values) {
  let low = Infinity;
  let high = -Infinity;
  for (let i = 0; i < values.length; i++) { // a million times: twice as fast as an iterator
    const value = values[i];
    if (!usable(value)) continue;
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return low > high ? { low: 0, high: 0 } : { low, high };
}

/** The domain of the scale: {low, high}. */
export function range(values, scale) {
  if (scale === "share") return { low: 0, high: 1 };
  const { low, high } = extent(values);
  if (scale !== "signed") return { low, high: high > low ? high : low + 1 };
  const limit = Math.max(Math.abs(low), Math.abs(high)) || 1;
  return { low: -limit, high: limit };
}

/** The level 0 … 255 of a number: by square root for probabilities, linear for others. */
function shade(value, scale, { low, high }) {
  if (!usable(value)) return 0;
  const part = scale === "share" ? Math.sqrt(Math.max(0, Math.min(1, value))) : (value - low) / (high - low);
  return roundEven(255 * Math.max(0, Math.min(1, part)));
}

/** The colours of a scale: Uint8Array of 256 × 3. */
const colours = (scale) => scales[scale === "signed" ? "signed" : "sequential"];

/** The colour of a number: [red, green, blue], grey if masked. */
export function paint(value, scale, ends) {
  if (!usable(value)) return channels(colour("masked"));
  const at = 3 * shade(value, scale, ends);
  return colours(scale).subarray(at, at + 3);
}

/** The colours of cells: Uint8ClampedArray of RGBA, as ImageData takes it. */
export function paintAll(cells, scale, ends) {
  const { values, columns } = cells;
  const shades = new Uint8Array(257 * 4);
  const pixels = new Uint32Array(values.length);
  for (let level = 0; level < 256; level++) shades.set([...colours(scale).subarray(3 * level, 3 * level + 3), 255], 4 * level);
  shades.set([...channels(colour("masked")), 255], 4 * 256);
  const table = new Uint32Array(shades.buffer);
  for (let start = 0; start < values.length; start += columns) {
    const later = start + firstLater(cells, start / columns);
    for (let i = start; i < start + columns; i++) {
      const value = values[i];
      pixels[i] = table[(value === 0 && i >= later) || !usable(value) ? 256 : shade(value, scale, ends)];
    }
  }
  return new Uint8ClampedArray(pixels.buffer);
}

/** Whether black text has more contrast than white on a colour. */
export function isLight(at) {
  return 0.3 * at[0] + 0.59 * at[1] + 0.11 * at[2] > 140;
}

const KINDS = new Map(Object.entries({
  q: "query", k: "key", v: "value", scores_rel: "score", scores_raw: "score", scores: "score", masked: "score", attn: "score", z: "output",
  tok_emb: "token", pos_emb: "token", mlp_pre: "mlp", mlp_act: "mlp", mlp_out: "mlp",
}));

/** The article's colour name of a tensor: "query" for q.5; undefined for others and for formulas. */
export const kindOf = (tensor) => KINDS.get(/^([a-z_]+)(?:\.\d+)?$/.exec(tensor)?.[1]);
