// What can be changed in the model while it reads: the same kinds, with the same fields, as `cutaway.trace.interventions`.

export const PLACES = ["layer", "head", "query", "key", "position", "value", "source"];

/** Fields that a kind must have, and those that it may have: without a layer or head it is made in all. */
export const KINDS = {
  zero_ablate_head: { needs: ["layer", "head"] },
  mean_ablate_head: { needs: ["layer", "head"] },
  scale_head: { needs: ["layer", "head", "value"] },
  zero_ablate_attention: { may: ["layer"] },
  zero_ablate_mlp: { may: ["layer"] },
  attention_knockout: { needs: ["query", "key"], may: ["layer", "head"] },
  no_mask: { may: ["layer"] },
  mask_value: { needs: ["value"], may: ["layer"] },
  no_scale: { may: ["layer"] },
  values_are_keys: { may: ["layer"] },
  previous_queries: { may: ["layer"] },
  no_positions: {},
  no_residual_attention: { may: ["layer"] },
  no_residual_mlp: { may: ["layer"] },
  no_final_norm: {},
  patch_residual: { needs: ["layer", "position", "source"] },
};

/** The fields of a kind in the order in which they are asked for: [[name, needed]]. */
export function fieldsOf(kind) {
  const { needs = [], may = [] } = KINDS[kind];
  return PLACES.filter((name) => needs.includes(name) || may.includes(name)).map((name) => [name, needs.includes(name)]);
}
