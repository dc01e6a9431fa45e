// Formatting of numbers. Who reads them sees a minus sign; what programs read has a hyphen.

export const minus = (text) => text.replaceAll("-", "−");

/** A number in a format specification of Python's: ".4f", ".2%", "+.3f", ",d", ",.0f", ".1e", ".3g". */
export const format = (value, form) => minus(formatted(value, form));

function formatted(value, form) {
  const match = /^(\+?)(,?)(?:\.(\d+))?([fe%gd]?)$/.exec(form);
  if (!match) return String(value);
  const [, plus, comma, digits, kind] = match;
  const sign = plus && value >= 0 ? "+" : "";
  if (kind === "%") return sign + percent(value, digits ?? 6);
  if (kind === "e") return sign + exponential(value, digits ?? 6);
  if (kind === "g") return sign + general(value, Number(digits ?? 6));
  const text = kind === "f" ? value.toFixed(digits ?? 6) : String(value);
  return sign + (comma ? grouped(text) : text);
}

/** A whole number with commas between its thousands: 50,257. */
export const grouped = (whole) => minus(String(whole).replace(/\B(?=(\d{3})+(?!\d))/g, ","));

const exponential = (value, digits) => value.toExponential(digits).replace(/e([+-])(\d)$/, "e$10$2");

/** Significant digits, with an exponent where Python has one. */
function general(value, digits) {
  const power = value === 0 ? 0 : Number(value.toExponential(digits - 1).split("e")[1]);
  if (power >= -4 && power < digits) return String(Number(value.toPrecision(digits)));
  return exponential(value, digits - 1).replace(/\.?0+e/, "e");
}

/** A cell's number in few characters, as in Python's figures. */
export function short(value, scale) {
  if (value === null || !Number.isFinite(value)) return "−∞";
  if (Math.abs(value) >= 1e5) return minus(value.toExponential(0).replace("e+", "e"));
  return scale === "share" ? percent(value, value < 0.9995 ? 1 : 0) : minus(value.toFixed(2));
}

/** The shortest decimal that is the same float32: 0.1 rather than 0.10000000149011612. */
export function exact(value) {
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  for (let digits = 1; digits < 10; digits++) {
    const text = value.toPrecision(digits);
    if (Math.fround(Number(text)) === Math.fround(value)) return String(Number(text));
  }
  return String(value);
}

export const percent = (value, digits = 2) => `${(100 * value).toFixed(digits)} %`;

/** A probability in percent; "< 0.01 %" if that would be none. */
export const share = (value) => (value > 0 && value < 5e-5 ? "< 0.01 %" : percent(value));

/** A difference that should be 0. */
export const apart = (value) => (value === 0 ? "0" : value.toExponential(1));

/** A text in so many characters: the number at its end stays, "velocity 80" becomes "velo… 80". */
export function cut(text, room) {
  const chars = [...text];
  if (chars.length <= room) return text;
  const end = /^\w+( \d+)$/.exec(text)?.[1] ?? "";
  const kept = end.length + 2 <= room ? end : "";
  return `${chars.slice(0, Math.max(1, room - 1 - kept.length)).join("")}…${kept}`;
}

/** About how large the file of a page is, by its tokens: of a long text, nearly all are one head's numbers for each pair of tokens. */
export const megabytesOf = (tokens) => Math.round(1 + 18 * (tokens / 1000) ** 2);
