// File downloads.

/** Download a Blob under a file name. */
export function download(name, blob) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name.replace(/[^\w.[\],-]+/g, "_");
  link.click();
  URL.revokeObjectURL(link.href);
}
