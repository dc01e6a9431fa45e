// The state of the page: one signal, synchronised with the address.

import { computed, signal } from "../vendor/signals-core.js";
import { START, fromAddress, toAddress } from "../lib/address.js";

export const state = signal({ ...START });

const hasAddress = location.protocol !== "about:"; // a frame in a notebook has no address

/** Update the state and push it to the history; `replace` replaces the current entry. A new view begins at its top. */
export function go(change, { replace = false } = {}) {
  if (change.view && !isHeld(change.view)) return scrollTo(0, 0);
  const next = { ...state.peek(), ...change };
  if (change.view && change.view !== state.peek().view && !change.more) next.more = {};
  const address = toAddress(next);
  if (hasAddress && address !== location.hash) history[replace ? "replaceState" : "pushState"](null, "", address);
  state.value = next;
  if (change.view) scrollTo(0, 0);
}

/** Update the view's own settings; null removes one. */
export function goMore(change) {
  const more = { ...state.peek().more, ...change };
  for (const name of Object.keys(more)) if (more[name] === null) delete more[name];
  go({ more }, { replace: true });
}

/** Whether a setting of the view is on. */
export const isOn = (name) => state.value.more[name] === "1";

/** An integer setting of the view, from 0 to below `count`, or the default. */
export function ownNumber(name, count, usual) {
  const text = state.value.more[name] ?? "";
  return /^\d{1,9}$/.test(text) && Number(text) < count ? Number(text) : usual;
}

/** A number of the view's settings, from `least` to `most`, or the default. */
export function ownSetting(name, least, most, usual) {
  const value = Number(state.value.more[name]);
  return value >= least && value <= most ? value : usual;
}

export const lacked = signal(null); // the title of a view that was asked for and is not in the file
let absent; // all such titles

function isHeld(view) {
  lacked.value = absent?.[view];
  return !lacked.value;
}

/** Follow the address from now on; `address` is the initial one if it is empty, `views` are those of a file, saved from the view `asked`. */
export function followAddress({ address = "", views, absent: titles, asked }) {
  absent = titles;
  const read = () => {
    const found = fromAddress(location.hash || address);
    state.value = isHeld(found.view) ? found : { ...found, view: views[0], more: {} };
    if (!location.hash) isHeld(asked);
  };
  addEventListener("popstate", read);
  addEventListener("hashchange", read);
  read();
}

export const view = computed(() => state.value.view);
