// Mathematics in which GPT-2s differ: the MLP's activation and the divisor of attention scores. As in `cutaway.config`.

/** The error function, to 1.5e-7 (Abramowitz and Stegun 7.1.26). */
function erf(x) {
  const t = 1 / (1 + 0.3275911 * Math.abs(x));
  const fit = ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t;
  return Math.sign(x) * (1 - fit * Math.exp(-x * x));
}

/** Name and function of each `activation_function`. */
export const ACTIVATIONS = {
  gelu_new: { name: "GELU", at: (x) => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3))) },
  gelu: { name: "GELU", at: (x) => 0.5 * x * (1 + erf(x / Math.SQRT2)) },
  relu: { name: "ReLU", at: (x) => Math.max(0, x) },
  silu: { name: "SiLU", at: (x) => x / (1 + Math.exp(-x)) },
  tanh: { name: "tanh", at: Math.tanh },
};

/** The divisor of q · k in a layer: as it is written, its value, also rounded, its kind, and the width of a head. */
export function divisorOf({ n_embd, n_head, scale_attn_weights: scaled, scale_attn_by_inverse_layer_idx: byLayer }, layer) {
  const width = n_embd / n_head;
  const value = (scaled ? Math.sqrt(width) : 1) * (byLayer ? layer + 1 : 1);
  const parts = [...(byLayer ? [String(layer + 1)] : []), ...(scaled ? [`√${width}`] : [])];
  return { divisor: parts.join(" · ") || "1", value, root: Number(value.toFixed(2)), width, kind: byLayer ? "layer" : scaled ? "root" : "none" };
}
