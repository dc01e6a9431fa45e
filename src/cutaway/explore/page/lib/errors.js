// The server's one-line errors, which are English, as names of texts with their values.

const KNOWN = [
  [/^the text is (?<n>[\d,]+) tokens long; the context holds (?<all>[\d,]+)/, "error.long"],
  [/^the text is at least (?<n>[\d,]+) tokens long; the context holds (?<all>[\d,]+)/, "error.longer"],
  [/^the intervention (?<kind>\w+) needs a (?<name>\w+)/, "error.needs"],
  [/^the intervention (?<kind>\w+) has no (?<name>\w+)/, "error.hasno"],
  [/^unknown intervention (?<kind>.+?):/, "error.kind"],
  [/^with these interventions numbers grow too large/, "error.large"],
  [/^a text to explain must have at most (?<n>[\d,]+) characters/, "error.explain"],
  [/^a cache needs a token before the last one/, "error.cache"],
  [/^there is no second model/, "error.second"],
  [/^(?<name>.+) must be from (?<least>\S+) to (?<most>\S+), not (?<value>.+)$/, "error.range"],
  [/^(?<name>.+) must be (?:a|an) (?:whole )?(?:number|integer), not (?<value>.+)$/, "error.number"],
  [/^(?<name>\w+) is missing/, "error.missing"],
];

/** {name, values} of the text that says the same; of an unknown message "error.other" with the message itself. */
export function inWords(message) {
  for (const [pattern, name] of KNOWN) {
    const found = pattern.exec(message);
    if (found) return { name, values: { ...found.groups } };
  }
  return { name: "error.other", values: { message } };
}
