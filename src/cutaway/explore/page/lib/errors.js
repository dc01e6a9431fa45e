// The server's one-line errors, which are English, as names of texts with their values.

const KNOWN = [
  // of a text and a request to generate
  [/^the (?:text|prompt) is (?<n>[\d,]+) tokens long[;,] the context holds (?<all>[\d,]+)/, "error.long"],
  [/^the text is at least (?<n>[\d,]+) tokens long; the context holds (?<all>[\d,]+)/, "error.longer"],
  [/^the prompt is empty/, "error.empty"],
  [/^a text to (?:explain|translate) must have at most (?<n>[\d,]+) characters/, "error.explain"],
  [/^(?<model>.+) has a tokenizer that cannot be explained/, "error.unexplained"],
  [/^(?<model>.+) has no (?:text, its ids are|tokenizer files)/, "error.textless"],
  [/^(?<model>.+) has no start token/, "error.start"],
  [/^unknown token id (?<id>\S+): this vocabulary has a gap there/, "error.gap"],
  [/^top_p must be above 0/, "error.top_p"],
  [/^stop must be non-empty strings/, "error.stop"],
  // of changes, and of what is looked at
  [/^the intervention (?<kind>\w+) needs a (?<name>\w+)/, "error.needs"],
  [/^the intervention (?<kind>\w+) has no (?<name>\w+)/, "error.hasno"],
  [/^unknown intervention (?<kind>.+?):/, "error.kind"],
  [/^at most (?<n>[\d,]+) interventions are allowed/, "error.most"],
  [/^with these interventions numbers grow too large/, "error.large"],
  [/^a logit cannot be attributed with the intervention (?<kind>\w+)/, "error.attribution"],
  [/^a cache needs a token before the last one/, "error.cache"],
  [/^a search needs at least one key position/, "error.search"],
  [/^unknown tensor (?<name>.+?)[;:] /, "error.tensor"],
  [/^index (?<index>\S+) is out of range for axis (?<axis>\S+) of (?<name>\S+), of size (?<n>\S+)/, "error.index"],
  [/^unknown figure: (?<name>.+?);/, "error.figure"],
  [/^there is no second model/, "error.second"],
  [/^only texts that the first model has read can be saved/, "error.save"],
  // of the model and the server
  [/^this model's ids are no music/, "error.music"],
  [/^this model has not learned to translate/, "error.translator"],
  [/^(?:the logits are|\S+ is) not finite: the weights/, "error.weights"],
  [/^not enough memory/, "error.memory"],
  [/^the response would exceed (?<n>\d+) bytes/, "error.bytes"],
  [/^the body is larger than (?<n>\d+) bytes/, "error.body"],
  [/^unknown trace /, "error.gone"],
  [/^other responses are still being sent/, "error.busy"],
  [/^internal server error \((?<kind>.+)\)/, "error.bug"],
  // of any value
  [/^(?<name>.+) must be one of (?<all>.+), not (?<value>.+)$/, "error.choice"],
  [/^(?<name>.+) must be from (?<least>\S+) to (?<most>\S+), not (?<value>.+)$/, "error.range"],
  [/^(?<name>.+) must be at least (?<least>\S+), not (?<value>.+)$/, "error.least"],
  [/^(?<name>.+) must be (?:a|an) (?:whole )?(?:number|integer), not (?<value>.+)$/, "error.number"],
  [/^(?<name>\w+) is missing/, "error.missing"],
];

/** {name, values} of the text that says the same, whole numbers as numbers; of an unknown message "error.other" with the message itself. */
export function inWords(message) {
  for (const [pattern, name] of KNOWN) {
    const found = pattern.exec(message);
    if (found) return { name, values: Object.fromEntries(Object.entries(found.groups ?? {}).map(([key, value]) => [key, /^-?\d+(e\+\d+)?$/.test(value) ? Number(value) : value])) };
  }
  return { name: "error.other", values: { message } };
}
