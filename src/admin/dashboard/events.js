import { make, Rows, setText } from './dom.js';
import { linkTo } from './services.js';
import { plain, time } from './text.js';

/**
 * @typedef {import('../../telemetry/timeline.ts').TimelineEvent} TimelineEvent
 */

const MOST_KEPT = 200;

/** The latest events that a page has heard of. Asks only for those after the last. */
export class Events {
  /** @type {TimelineEvent[]} */
  #events = [];
  #show;
  /** @type {string | undefined} */
  #service;

  /** @param {HTMLElement} list */
  constructor(list) {
    this.#show = eventRows(list, { withSubject: true });
  }

  /** From now on, those of one service; undefined: of everything. @param {string | undefined} service */
  of(service) {
    this.#service = service;
    this.clear();
  }

  clear() {
    this.#events = [];
  }

  get path() {
    const service = this.#service === undefined ? '' : `&service=${encodeURIComponent(this.#service)}`;
    return `api/events?limit=${MOST_KEPT}&after=${this.#events.at(-1)?.sequence ?? 0}${service}`;
  }

  /** @param {readonly TimelineEvent[]} news @param {number} nowMs */
  add(news, nowMs) {
    this.#events = [...this.#events, ...news].slice(-MOST_KEPT);
    this.#show(this.#events, nowMs);
  }
}

/**
 * Latest first.
 *
 * @param {HTMLElement} list
 * @param {{ withSubject: boolean }} options
 * @returns {(events: readonly TimelineEvent[], nowMs: number) => void} events oldest first
 */
export function eventRows(list, { withSubject }) {
  let shownMs = 0;
  const rows = new Rows(
    list,
    // A gateway that has been started anew counts from the beginning.
    (/** @type {TimelineEvent} */ { sequence, wall }) => `${sequence} ${wall}`,
    (event) => {
      const at = make('time');
      at.dateTime = new Date(event.wall).toISOString();
      const subject = withSubject ? [' ', ...subjectOf(event)] : [];
      const kind = make('b', '', event.kind);
      const node = make('li', `event ${look(event)}`, at, ' ', kind, ...subject, ' ', changeOf(event));
      // An event never changes, but the day on which it is read does.
      return { node, update: () => setText(at, time(event.wall, shownMs)) };
    },
  );
  return (events, nowMs) => {
    shownMs = nowMs;
    rows.show(events.toReversed());
  };
}

/** @param {TimelineEvent} event */
function subjectOf({ service, instance }) {
  if (service === undefined) return [];
  return instance === undefined ? [linkTo(service)] : [linkTo(service), `/${plain(instance)}`];
}

/** @param {TimelineEvent} event */
function changeOf({ from, to, cause, evidence }) {
  const change = from === undefined ? to : `${from} → ${to}`;
  return `${change}: ${cause}${evidence === undefined ? '' : `; ${evidence}`}`;
}

/** @type {ReadonlySet<string>} */
const BAD = new Set(['open', 'failing', 'ejected', 'down', 'refused', 'replaced', 'held', 'lost', 'stale', 'failed']);

/** @param {TimelineEvent} event */
function look({ kind, to }) {
  return BAD.has(to) || (kind === 'panic' && to !== 'off') ? 'bad' : 'calm';
}
