import { make, setText } from './dom.js';
import { count } from './text.js';

/** Which part of a long list is shown: the gateway sends no more than that. */
export class Pager {
  #size;
  #onChange;
  #where = make('span');
  #back = make('button', '', '‹ Before');
  #forth = make('button', '', 'After ›');
  offset = 0;

  /** @param {HTMLElement} place @param {number} size @param {() => void} onChange */
  constructor(place, size, onChange) {
    this.#size = size;
    this.#onChange = onChange;
    for (const [button, step] of /** @type {const} */ ([
      [this.#back, -1],
      [this.#forth, 1],
    ])) {
      button.type = 'button';
      button.addEventListener('click', () => this.#move(this.offset + step * size));
    }
    place.append(this.#back, this.#where, this.#forth);
  }

  get query() {
    return `limit=${this.#size}&offset=${this.offset}`;
  }

  reset() {
    this.offset = 0;
  }

  /** @param {number} shown @param {number} matched */
  show(shown, matched) {
    // The list has become shorter than where we are.
    if (shown === 0 && matched > 0 && this.offset > 0) this.#move(Math.floor((matched - 1) / this.#size) * this.#size);
    const range =
      matched === 0 ? 'none' : `${count(this.offset + 1)}–${count(this.offset + shown)} of ${count(matched)}`;
    setText(this.#where, range);
    // Not `disabled`, which would take the focus off a button that has just been pressed.
    this.#back.setAttribute('aria-disabled', String(this.offset === 0));
    this.#forth.setAttribute('aria-disabled', String(this.offset + shown >= matched));
  }

  /** @param {number} offset */
  #move(offset) {
    const button = offset < this.offset ? this.#back : this.#forth;
    if (button.getAttribute('aria-disabled') === 'true') return;
    this.offset = Math.max(0, offset);
    this.#onChange();
  }
}
