// The state of the page: one signal, synchronised with the address.

import { computed, signal } from "../vendor/signals-core.js";
import { START, fromAddress, toAddress } from "../lib/address.js";

export const state = signal({ ...START });

const hasAddress = location.protocol !== "about:"; // a frame in a notebook has no address

/** Update the state and push it to the history; `replace` replaces the current entry. A new view begins at its top. */
export function go(change, { replace = false } = {}) {
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

/** Follow the address from now on; `start` is the initial one if it is empty. */
export function followAddress(start = "") {
  const read = () => { state.value = fromAddress(location.hash || start); };
  addEventListener("popstate", read);
  addEventListener("hashchange", read);
  read();
}

export const view = computed(() => state.value.view);
