// Layout of matrices drawn to scale.

/** The matrices among a model's tensors: {tensor, name (within its block), inBlock, rows, columns, numbers (in all blocks)}. */
export const matricesOf = (tensors) => tensors.filter(({ shape }) => shape.length === 2).map(({ tensor, shape: [rows, columns], copies }) => ({
  tensor, name: tensor.replace("h.*.", ""), inBlock: tensor.startsWith("h.*."), rows, columns, numbers: rows * columns * copies,
}));

/** A matrix on its long side, `unit` pixels per number, cut into strips of at most `width`. */
export function strips(matrix, unit, width) {
  const long = unit * Math.max(matrix.rows, matrix.columns);
  const high = unit * Math.min(matrix.rows, matrix.columns);
  const count = Math.ceil(long / width - 1e-6);
  return Array.from({ length: count }, (_, i) => ({ matrix, wide: Math.min(width, long - i * width), high }));
}

/** Place rectangles {wide, high} in lines of that width: {placed: [{x, y, ...}], high}. */
export function inLines(items, width, gap = 0) {
  let x = 0;
  let y = 0;
  let high = 0;
  const placed = items.map((item) => {
    if (x > 0 && x + item.wide > width + 1e-6) {
      x = 0;
      y += high + gap;
      high = 0;
    }
    const at = { ...item, x, y };
    x += item.wide + gap;
    high = Math.max(high, item.high);
    return at;
  });
  return { placed, high: y + high };
}
