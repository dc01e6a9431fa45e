// Names of notes, [onset, offset, pitch, velocity] in seconds and MIDI's numbers, and their order for the keyboard.

const NAMES = ["C", "C♯", "D", "E♭", "E", "F", "F♯", "G", "A♭", "A", "B♭", "B"];

/** "C4" for 60. */
export const pitchName = (pitch) => `${NAMES[pitch % 12]}${Math.floor(pitch / 12) - 1}`;

export const isBlack = (pitch) => [1, 3, 6, 8, 10].includes(pitch % 12);

/** The frequency of a pitch in hertz; A4, 69, is 440. */
export const frequency = (pitch) => 440 * 2 ** ((pitch - 69) / 12);

/** The note that an arrow key leads to: to the sides in time, up and down to the nearest higher or lower one. */
export function neighbour(notes, from, key) {
  if (key === "Home") return 0;
  if (key === "End") return notes.length - 1;
  if (key === "ArrowLeft") return Math.max(0, from - 1);
  if (key === "ArrowRight") return Math.min(notes.length - 1, from + 1);
  const up = key === "ArrowUp" ? 1 : -1;
  const [onset, , pitch] = notes[from];
  let best = from;
  let least = Infinity;
  for (const [i, [time, , other]] of notes.entries()) {
    if (up * (other - pitch) <= 0) continue;
    const away = Math.abs(time - onset) + Math.abs(other - pitch) / 1000;
    if (away >= least) continue;
    best = i;
    least = away;
  }
  return best;
}

/** What one head gives to the notes: {sums: Map of note -> {weight, tokens}, rest}, of its weights on the tokens. */
export function onNotes(weights, owners) {
  const sums = new Map();
  let rest = 0;
  for (const [token, weight] of weights.entries()) {
    const note = owners[token];
    if (note < 0) rest += weight;
    else {
      const sum = sums.get(note) ?? { weight: 0, tokens: [] };
      sum.weight += weight;
      sum.tokens.push(token);
      sums.set(note, sum);
    }
  }
  return { sums, rest };
}

/** The highest and the lowest note, as indices, among those that begin in the second half of a list that is not empty. */
export function lateEnds(notes) {
  const late = notes.map((note, i) => i).filter((i) => i >= (notes.length - 1) / 2);
  return [1, -1].map((sign) => late.reduce((best, i) => (sign * notes[i][2] > sign * notes[best][2] ? i : best)));
}
