import { plain } from './text.js';

/*
 * The page is changed through these alone. Text is only ever set as text: there is no way from here to markup, and the
 * page's Content-Security-Policy (Trusted Types) refuses it besides.
 */

/**
 * An element of the page by its id.
 *
 * @template {HTMLElement} T
 * @param {string} id
 * @param {new () => T} type
 * @returns {T}
 */
export function byId(id, type) {
  const found = document.getElementById(id);
  if (!(found instanceof type)) throw new Error(`the page has no ${type.name} #${id}`);
  return found;
}

/**
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {string} [className]
 * @param {...(Node | string)} children text goes through `plain`
 */
export function make(tag, className = '', ...children) {
  const element = document.createElement(tag);
  if (className !== '') element.className = className;
  for (const child of children) element.append(typeof child === 'string' ? plain(child) : child);
  return element;
}

/** Leaves alone what is so already: whoever reads or selects is not disturbed. @param {Node} node @param {unknown} words */
export function setText(node, words) {
  const text = plain(words);
  if (node.textContent !== text) node.textContent = text;
}

/** @param {Element} element @param {string} className */
export function setClass(element, className) {
  if (element.className !== className) element.className = className;
}

/** @param {HTMLElement} element @param {boolean} shown */
export function show(element, shown) {
  if (element.hidden === shown) element.hidden = !shown;
}

/** A state as a badge: colour, shape and word say the same. @param {HTMLElement} badge @param {string} state */
export function setBadge(badge, state) {
  setText(badge, state);
  setClass(badge, `badge ${BADGES.get(state) ?? 'unsure'}`);
}

/** @type {ReadonlyMap<string, string>} */
const BADGES = new Map(
  Object.entries({
    good: ['ok', 'available', 'synced', 'pass', 'passing', 'closed'],
    unsure: ['partial', 'degraded', 'unknown', 'half-open', 'init', 'trial', 'overruled', 'drained', 'fallback'],
    bad: ['down', 'panic', 'empty', 'ejected', 'breaker-open', 'failing', 'stale', 'failed', 'stop', 'open'],
  }).flatMap(([look, states]) => states.map((state) => [state, look])),
);

/**
 * @template Item
 * @typedef {{ readonly node: Element, update(item: Item): void }} Row
 */

/**
 * Children of an element that follow a list by key: what stays is updated in place, so that focus, selection and what
 * is unfolded stay with it.
 *
 * @template Item
 */
export class Rows {
  #parent;
  #keyOf;
  #create;
  #start;
  /** @type {Map<string, Row<Item>>} */
  #rows = new Map();

  /**
   * @param {Element} parent what is in it already stays before the rows
   * @param {(item: Item) => string} keyOf
   * @param {(item: Item) => Row<Item>} create
   */
  constructor(parent, keyOf, create) {
    this.#parent = parent;
    this.#keyOf = keyOf;
    this.#create = create;
    this.#start = parent.children.length;
  }

  /** @param {readonly Item[]} items */
  show(items) {
    const focused = document.activeElement;
    const byKey = new Map(items.map((item) => [this.#keyOf(item), item]));
    // First, so that those after them are in their places already.
    for (const [key, { node }] of this.#rows) {
      if (byKey.has(key)) continue;
      node.remove();
      this.#rows.delete(key);
    }
    let at = this.#start;
    for (const [key, item] of byKey) {
      const row = this.#rows.get(key) ?? this.#create(item);
      this.#rows.set(key, row);
      row.update(item);
      const place = this.#parent.children[at++] ?? null;
      if (row.node !== place) this.#parent.insertBefore(row.node, place);
    }
    // Whoever was moved has lost it.
    if (focused instanceof HTMLElement && focused !== document.activeElement && this.#parent.contains(focused)) {
      focused.focus({ preventScroll: true });
    }
  }
}

/**
 * Terms and what they are: a `dl` that keeps its elements.
 *
 * @param {HTMLElement} list
 * @returns {(facts: readonly (readonly [term: string, words: string])[]) => void}
 */
export function facts(list) {
  const rows = new Rows(
    list,
    (/** @type {readonly [string, string]} */ [term]) => term,
    ([term]) => {
      const words = make('dd');
      return { node: make('div', '', make('dt', '', term), words), update: ([, text]) => setText(words, text) };
    },
  );
  return (all) => rows.show(all);
}
