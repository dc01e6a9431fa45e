// Saving what is on the screen as a file.

/** Offer a Blob under a name. */
export function download(name, blob) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name.replace(/[^\w.[\],-]+/g, "_");
  link.click();
  URL.revokeObjectURL(link.href);
}
