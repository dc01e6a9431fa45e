// Plays notes: a small piano of our own, a sum of partials that decay, the higher the faster. No recording is used.

import { signal } from "../vendor/signals-core.js";
import { frequency } from "../lib/pitches.js";

const PARTIALS = 12;
const RELEASE = 0.12; // seconds in which a note falls silent when its key is up
const LOUDNESS = 0.22;
const LEAD = 0.08; // seconds before the first note

/** The number of notes that are being played; 0 when nothing is. */
export const playing = signal(0);

let context = null;
let frame = 0;

/** Play the notes that begin from `start` seconds on; `show(seconds)` is called as they sound, and with null at the end. */
export function play(notes, start, show) {
  stop();
  const heard = notes.filter(([onset]) => onset >= start - 1e-6);
  if (!heard.length) return;
  context = new AudioContext();
  const mine = context;
  const out = mine.createDynamicsCompressor();
  out.connect(mine.destination);
  const wave = mine.createPeriodicWave(new Float32Array(PARTIALS + 1), Float32Array.from({ length: PARTIALS + 1 }, (_, n) => (n ? n ** -1.6 : 0)));
  const began = mine.currentTime + LEAD;
  for (const note of heard) strike(mine, out, wave, note, began - start);
  playing.value = heard.length;
  const end = Math.max(...heard.map(([, offset]) => offset));
  const step = () => {
    if (context !== mine) return;
    const now = mine.currentTime - began + start;
    if (now > end + RELEASE) stop();
    else {
      show(now);
      frame = requestAnimationFrame(step);
    }
  };
  finish = () => show(null);
  frame = requestAnimationFrame(step);
}

let finish = null;

/** Stop, if something is played. */
export function stop() {
  cancelAnimationFrame(frame);
  context?.close();
  context = null;
  playing.value = 0;
  finish?.();
  finish = null;
}

function strike(context, out, wave, [onset, offset, pitch, velocity], began) {
  const tone = context.createOscillator();
  const gain = context.createGain();
  const hertz = frequency(pitch);
  const first = began + onset;
  const last = began + offset;
  const decay = 0.35 + hertz / 900; // a second
  const level = LOUDNESS * (velocity / 127) ** 1.5;
  tone.setPeriodicWave(wave);
  tone.frequency.value = hertz;
  gain.gain.setValueAtTime(0, first);
  gain.gain.linearRampToValueAtTime(level, first + 0.004);
  gain.gain.setTargetAtTime(0, first + 0.004, 1 / decay);
  gain.gain.setTargetAtTime(0, last, RELEASE / 4);
  tone.connect(gain).connect(out);
  tone.start(first);
  tone.stop(last + RELEASE);
}
