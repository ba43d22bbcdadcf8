import { byId, make, Rows, setBadge, setClass, setText, show } from './dom.js';
import { Pager } from './pager.js';
import { count, counted, duration, figure, percent } from './text.js';

/**
 * @typedef {import('../reports.ts').ListedService} Service
 * @typedef {import('../reports.ts').ServiceList} ServiceList
 * @typedef {import('../reports.ts').Condition} Condition
 * @typedef {import('./rates.js').Rates} Rates
 * @typedef {import('./rates.js').Rate} Rate
 */

const PAGE_SIZE = 50;

/** What each condition means, where it is pressed to filter. @type {readonly (readonly [Condition, string])[]} */
const CONDITIONS = [
  ['down', 'no instance takes traffic'],
  ['panic', 'too few available: probe verdicts are ignored, or all is rejected'],
  ['empty', 'no instance is registered'],
  ['fallback', 'only fallback instances have the traffic'],
  ['partial', 'some instances take no traffic'],
  ['ok', 'every instance takes traffic'],
];

/** @param {string} name */
export function linkTo(name) {
  const link = make('a', '', name);
  link.href = `#/service/${encodeURIComponent(name)}`;
  return link;
}

/** @param {Rate | undefined} rate */
export function rateTexts(rate) {
  return {
    perSecond: rate ? figure(rate.perSecond) : '…',
    errors: rate?.errorShare === undefined ? '–' : percent(rate.errorShare),
    p99: rate?.p99Ms === undefined ? '–' : rate.p99Ms === Infinity ? '> 60 s' : duration(rate.p99Ms),
  };
}

/** The list of services: searched, filtered and cut by the gateway. */
export class Services {
  #rates;
  #rows;
  #pager;
  #conditions;
  #part = byId('services-part', HTMLInputElement);
  #order = byId('services-order', HTMLSelectElement);
  #none = byId('services-none', HTMLElement);
  /** @type {Condition | undefined} */
  #only;

  /** @param {Rates} rates @param {() => void} onChange another list is wanted */
  constructor(rates, onChange) {
    this.#rates = rates;
    const anew = () => {
      this.#pager.reset();
      onChange();
    };
    this.#pager = new Pager(byId('services-pager', HTMLElement), PAGE_SIZE, onChange);
    this.#part.addEventListener('input', anew);
    this.#order.addEventListener('change', anew);
    this.#rows = new Rows(
      byId('services-rows', HTMLElement),
      (/** @type {Service} */ { name }) => name,
      () => this.#row(),
    );
    const choose = (/** @type {Condition} */ condition) => {
      this.#only = this.#only === condition ? undefined : condition;
      anew();
    };
    this.#conditions = new Map(CONDITIONS.map(([name, meaning]) => [name, conditionButton(name, meaning, choose)]));
  }

  get path() {
    const only = this.#only === undefined ? '' : `&condition=${this.#only}`;
    const part = encodeURIComponent(this.#part.value.trim());
    return `api/services?traffic&order=${this.#order.value}&q=${part}${only}&${this.#pager.query}`;
  }

  /** @param {Readonly<Record<Condition, number>>} counts */
  showConditions(counts) {
    for (const [name, { button, number }] of this.#conditions) {
      setText(number, count(counts[name]));
      setClass(button, counts[name] > 0 ? `condition ${name}` : 'condition nobody');
      button.setAttribute('aria-pressed', String(this.#only === name));
    }
  }

  /** @param {ServiceList} list */
  show(list) {
    this.#rates.add(list.services, list.nowMs, list.durationBoundsMs);
    this.#rows.show(list.services);
    this.#pager.show(list.services.length, list.matched);
    setText(this.#none, list.total === 0 ? 'No service is configured or registered.' : 'No service matches.');
    show(this.#none, list.matched === 0);
  }

  #row() {
    const name = make('th');
    name.scope = 'row';
    const badge = make('span');
    const cells = Array.from({ length: 6 }, (_, at) => make('td', at < 5 ? 'number' : ''));
    const [traffic, rate, errors, p99, inflight, instances] = /** @type {[Node, Node, Node, Node, Node, Node]} */ (
      /** @type {unknown} */ (cells)
    );
    const update = (/** @type {Service} */ service) => {
      if (name.childNodes.length === 0) name.append(linkTo(service.name));
      setBadge(badge, service.condition);
      setText(traffic, `${count(service.takingTraffic)} / ${count(service.registered)}`);
      const texts = rateTexts(this.#rates.of(service.name));
      setText(rate, texts.perSecond);
      setText(errors, texts.errors);
      setText(p99, texts.p99);
      setText(inflight, count(service.inflight));
      setText(instances, statesText(service));
    };
    return { node: make('tr', '', name, make('td', '', badge), ...cells), update };
  }
}

/** @param {Condition} name @param {string} meaning @param {(name: Condition) => void} choose */
function conditionButton(name, meaning, choose) {
  const number = make('b');
  const button = make('button', 'condition', number, ` ${name}`);
  button.type = 'button';
  button.title = meaning;
  button.addEventListener('click', () => choose(name));
  byId('conditions', HTMLElement).append(button);
  return { button, number };
}

/** @param {Service} service */
function statesText({ states, panic }) {
  const flags = panic === 'off' ? [] : [`PANIC (${panic})`];
  const all = Object.entries(states).map(([state, number]) => `${count(number)} ${state}`);
  return [...flags, ...all].join(', ') || counted(0, 'instance');
}
