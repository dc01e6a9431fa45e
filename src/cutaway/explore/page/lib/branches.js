// A prefix tree of texts.

/** Nodes {ids, kept, below}: token ids after the parent's, whether a text ends here, and children. */
export function tree(texts) {
  return branches(texts.map((text) => [...text]).filter((text) => text.length));
}

function branches(texts) {
  return [...Map.groupBy(texts, ([first]) => first).values()].map((alike) => {
    const length = common(alike);
    const rest = alike.map((text) => text.slice(length));
    return { ids: alike[0].slice(0, length), kept: rest.some((text) => !text.length), below: branches(rest.filter((text) => text.length)) };
  });
}

/** Length of the common prefix. */
function common([first, ...others]) {
  const end = first.findIndex((id, i) => others.some((text) => text[i] !== id));
  return end < 0 ? first.length : end;
}
