// What the page is about: one signal, kept in step with the address.

import { computed, signal } from "../vendor/signals-core.js";
import { START, fromAddress, toAddress } from "../lib/address.js";

export const state = signal({ ...START });

const hasAddress = location.protocol !== "about:"; // a notebook's frame has none of its own

/** Change some of the state, as a step that "back" undoes; `replace` changes this step instead. */
export function go(change, { replace = false } = {}) {
  const next = { ...state.peek(), ...change };
  if (change.view && change.view !== state.peek().view && !change.more) next.more = {};
  const address = toAddress(next);
  if (hasAddress && address !== location.hash) history[replace ? "replaceState" : "pushState"](null, "", address);
  state.value = next;
}

/** Change what belongs to the view alone: sliders, what is open. null takes a value away. */
export function goMore(change) {
  const more = { ...state.peek().more, ...change };
  for (const name of Object.keys(more)) if (more[name] === null) delete more[name];
  go({ more }, { replace: true });
}

/** Whether something of the view's own is switched on. */
export const isOn = (name) => state.value.more[name] === "1";

/** A whole number of the view's own, from 0 to below `count`; where there is none, the usual. */
export function ownNumber(name, count, usual) {
  const text = state.value.more[name] ?? "";
  return /^\d{1,9}$/.test(text) && Number(text) < count ? Number(text) : usual;
}

/** Follow the address from now on; where it says nothing, begin with `start`. */
export function followAddress(start = "") {
  const read = () => { state.value = fromAddress(location.hash || start); };
  addEventListener("popstate", read);
  addEventListener("hashchange", read);
  read();
}

export const view = computed(() => state.value.view);
