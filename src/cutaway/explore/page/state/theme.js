// The theme: light or dark, as the system has it or as the reader chooses, who is remembered.

import { computed, signal } from "../vendor/signals-core.js";
import { recall, remember } from "./memory.js";

export const THEMES = ["auto", "light", "dark"];

const system = matchMedia("(prefers-color-scheme: dark)");
const isSystemDark = signal(system.matches);
const remembered = recall("theme", THEMES[0], "always");

/** The choice: "auto", "light" or "dark". */
export const theme = signal(THEMES.includes(remembered) ? remembered : THEMES[0]);

const current = computed(() => (theme.value === "auto" ? isSystemDark.value : theme.value === "dark"));

/** Whether the page is dark; what reads it is drawn again when that changes. */
export const isDark = () => current.value;

let changed = () => {};

/** Call `change(isDark)` whenever the theme changes, before anything is drawn in it. */
export function watchTheme(change) {
  changed = change;
  system.addEventListener("change", () => {
    if (theme.peek() === "auto") changed(system.matches);
    isSystemDark.value = system.matches;
  });
}

/** Choose a theme, from now on and for the next visit. */
export function setTheme(name) {
  changed(name === "auto" ? system.matches : name === "dark");
  dress(name); // before pictures are drawn, which ask for the colour of their words
  theme.value = name;
  remember("theme", name, "always");
}

/** Set the theme of the sheet. */
function dress(name) {
  document.documentElement.style.colorScheme = name === "auto" ? "" : name;
}

dress(theme.peek());
