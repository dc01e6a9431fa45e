// Python's way of writing numbers, as far as figures use it.

/** Python's format, as far as figures use it: ".4f", ".2%", "+.3f", ",d" or ",.0f" for whole numbers, ".1e". */
export function format(value, form) {
  const match = /^(\+?)(,?)(?:\.(\d+))?([fe%gd]?)$/.exec(form);
  if (!match) return String(value);
  const [, plus, comma, digits, kind] = match;
  const sign = plus && value >= 0 ? "+" : "";
  if (kind === "%") return `${sign}${(100 * value).toFixed(digits ?? 6)}%`;
  if (kind === "e") return sign + exponential(value, digits ?? 6);
  if (kind === "g") return sign + general(value, Number(digits ?? 6));
  const text = kind === "f" ? value.toFixed(digits ?? 6) : String(value);
  return sign + (comma ? text.replace(/\B(?=(\d{3})+(?!\d))/g, ",") : text);
}

const exponential = (value, digits) => value.toExponential(digits).replace(/e([+-])(\d)$/, "e$10$2");

/** So many digits in all, with an exponent where Python writes one. */
function general(value, digits) {
  const power = value === 0 ? 0 : Number(value.toExponential(digits - 1).split("e")[1]);
  if (power >= -4 && power < digits) return String(Number(value.toPrecision(digits)));
  return exponential(value, digits - 1).replace(/\.?0+e/, "e");
}
