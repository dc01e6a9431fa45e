// Texts that begin alike, as a tree: what they have in common is there once.

/** {ids, kept, below}: tokens that follow what is above, whether a text ends with them, and how texts go on from there. */
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

/** How many tokens all of them begin with. */
function common([first, ...others]) {
  const end = first.findIndex((id, i) => others.some((text) => text[i] !== id));
  return end < 0 ? first.length : end;
}
