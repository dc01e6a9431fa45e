// What a page remembers: of a model until its tab is closed, or always. A frame in a notebook, or a file, may have no memory.

const STORES = { tab: () => sessionStorage, always: () => localStorage };

/** The value that was remembered under a name, or the default. */
export function recall(name, usual, store = "tab") {
  try {
    return JSON.parse(STORES[store]().getItem(`cutaway ${name}`)) ?? usual;
  } catch {
    return usual;
  }
}

/** Remember a value, as JSON. */
export function remember(name, value, store = "tab") {
  try {
    STORES[store]().setItem(`cutaway ${name}`, JSON.stringify(value));
  } catch {
    // without a memory it is forgotten, as the page says nowhere that it is kept
  }
}
