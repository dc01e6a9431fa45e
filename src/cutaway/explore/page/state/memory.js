// What a page remembers of a model until its tab is closed. A frame in a notebook, or a file, may have no memory.

/** The value that was remembered under a name, or the default. */
export function recall(name, usual) {
  try {
    return JSON.parse(sessionStorage.getItem(`cutaway ${name}`)) ?? usual;
  } catch {
    return usual;
  }
}

/** Remember a value, as JSON. */
export function remember(name, value) {
  try {
    sessionStorage.setItem(`cutaway ${name}`, JSON.stringify(value));
  } catch {
    // without a memory it is forgotten, as the page says nowhere that it is kept
  }
}
