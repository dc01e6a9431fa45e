// <token-list>: a list of buttons for all tokens of a text, of which one is pressed. To press another one does not draw a
// thousand others again.

import { html, render } from "../vendor/lit-html.js";
import { language } from "../state/i18n.js";

class TokenList extends HTMLElement {
  #drawnFrom = [];
  #pressed = null;

  /** {from, draw, at}: what the list is drawn from, as an array; the function that draws it; the button that is pressed, -1 for none. */
  set options({ from, draw, at }) {
    if (from.length !== this.#drawnFrom.length || from.some((value, i) => value !== this.#drawnFrom[i])) render(draw(), this);
    this.#drawnFrom = from;
    const pressed = this.getElementsByTagName("button")[at];
    if (pressed === this.#pressed) return;
    if (this.#pressed) this.#pressed.ariaPressed = "false";
    if (pressed) pressed.ariaPressed = "true";
    this.#pressed = pressed;
  }
}

customElements.define("token-list", TokenList);

/** The list; its buttons begin with aria-pressed="false". */
export const tokenList = (from, at, draw) => html`<token-list .options=${{ from: [language.value, ...from], at, draw }}></token-list>`;
