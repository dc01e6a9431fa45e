// The theme: light or dark, as the system has it.

import { signal } from "../vendor/signals-core.js";

const dark = matchMedia("(prefers-color-scheme: dark)");
const current = signal(dark.matches);

/** Whether the page is dark; what reads it is drawn again when that changes. */
export const isDark = () => current.value;

/** Call `change(isDark)` whenever the theme changes, before anything is drawn in it. */
export function watchTheme(change) {
  dark.addEventListener("change", () => {
    change(dark.matches);
    current.value = dark.matches;
  });
}
