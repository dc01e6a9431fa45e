// Interventions: {kind, layer, head, …}, as in `cutaway.trace.interventions`. Their kinds come with `api/model`.

/** The fields of an intervention, in the order in which addresses and forms have them. */
export const FIELDS = ["layer", "head", "query", "key", "position", "value", "source"];

/** The fields of a kind, {needs, allows}, in that order: [[name, isRequired]]. */
export const fieldsOf = ({ needs, allows }) => FIELDS.filter((name) => allows.includes(name) || needs.includes(name)).map((name) => [name, needs.includes(name)]);
