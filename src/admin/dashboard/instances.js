import { eventRows } from './events.js';
import { byId, facts, make, Rows, setBadge, setClass, setText, show } from './dom.js';
import { Pager } from './pager.js';
import { rateTexts } from './services.js';
import { age, count, duration, figure, percent } from './text.js';

/**
 * @typedef {import('../reports.ts').ExplainReport} ExplainReport
 * @typedef {import('../reports.ts').InstanceExplanation} Instance
 * @typedef {import('../reports.ts').GateReport} Gate
 * @typedef {import('../reports.ts').CountedService} ServiceReport
 * @typedef {import('./rates.js').Rates} Rates
 */

const PAGE_SIZE = 25;
const COLUMNS = 11;

/** One service: what it does, and for each instance, gate by gate, why it takes traffic or does not. */
export class Instances {
  #rates;
  #onRotate;
  #rows;
  #pager;
  #nowMs = 0;
  #name = '';
  #facts = facts(byId('service-facts', HTMLElement));
  #part = byId('instances-part', HTMLInputElement);

  /**
   * @param {Rates} rates
   * @param {() => void} onChange another part of the list is wanted
   * @param {(service: string, instance: Instance) => void} onRotate this one is to be drained, or let in again
   */
  constructor(rates, onChange, onRotate) {
    this.#rates = rates;
    this.#onRotate = onRotate;
    this.#pager = new Pager(byId('instances-pager', HTMLElement), PAGE_SIZE, onChange);
    this.#part.addEventListener('input', () => {
      this.#pager.reset();
      onChange();
    });
    const table = document.querySelector('#service table');
    if (!table) throw new Error('the page has no table of instances');
    this.#rows = new Rows(
      table,
      (/** @type {Instance} */ { id, leaving }) => `${id} ${leaving}`,
      (instance) => this.#row(instance),
    );
  }

  /** @param {string} name */
  open(name) {
    this.#name = name;
    this.#pager.reset();
    this.#part.value = '';
    this.#rows.show([]);
    this.#facts([]);
    setText(byId('service-title', HTMLElement), name);
    setText(byId('service-conclusion', HTMLElement), '…');
  }

  get paths() {
    const base = `api/services/${encodeURIComponent(this.#name)}`;
    const part = this.#part.value.trim();
    const query = part === '' ? '' : `&q=${encodeURIComponent(part)}`;
    return [`${base}?traffic&limit=0`, `${base}/explain?${this.#pager.query}${query}`];
  }

  /** @param {ServiceReport} service @param {ExplainReport} explained @param {number} wallMs */
  show(service, explained, wallMs) {
    this.#nowMs = wallMs;
    this.#rates.add([service], service.nowMs, service.durationBoundsMs);
    const rate = this.#rates.of(service.name);
    const texts = rateTexts(rate);
    setText(byId('service-conclusion', HTMLElement), explained.conclusion);
    this.#facts([
      ['Condition', service.condition],
      ['Taking traffic', `${count(service.takingTraffic)} of ${count(service.registered)}`],
      ['Available by themselves', count(service.available)],
      ['Panic', service.panic],
      ['Requests/s', texts.perSecond],
      ['Errors (5xx)', texts.errors],
      ['p99', texts.p99],
      ['Retries/s', rate ? figure(rate.retriesPerSecond) : '…'],
      ['In flight', count(service.inflight)],
      ['Balancer', service.balancer],
      ['Whose word holds', explained.mode],
      ['Hosts', service.hosts.join(', ') || 'by its name only'],
    ]);
    this.#rows.show(explained.instances);
    this.#pager.show(explained.instances.length, this.#pager.offset + explained.instances.length + explained.omitted);
  }

  /** @param {string} message */
  missing(message) {
    setText(byId('service-conclusion', HTMLElement), message);
    this.#rows.show([]);
    this.#facts([]);
    this.#pager.show(0, 0);
  }

  /** @param {Instance} first @returns {import('./dom.js').Row<Instance>} */
  #row(first) {
    let instance = first;
    const toggle = make('button', 'toggle', first.id);
    toggle.type = 'button';
    const badge = make('span');
    const reason = make('td', 'reason');
    const numbers = Array.from({ length: 5 }, () => make('td', 'number'));
    const rotate = make('button');
    rotate.type = 'button';
    rotate.addEventListener('click', () => this.#onRotate(this.#name, instance));
    const name = make('th', '', toggle, make('br'), make('small', '', first.address));
    name.scope = 'row';
    const [breaker, probe] = [make('span'), make('span')];
    const states = [badge, breaker, probe].map((state) => make('td', '', state));
    const cells = [...states, reason, ...numbers, make('td', '', rotate)];
    const why = make('td');
    why.colSpan = COLUMNS;
    const detail = make('tr', 'detail', why);
    const gates = new Gates(why);
    let open = false;
    const unfold = () => {
      toggle.setAttribute('aria-expanded', String(open));
      show(detail, open);
      if (open) gates.show(instance, this.#nowMs);
    };
    toggle.addEventListener('click', () => {
      open = !open;
      unfold();
    });
    const update = (/** @type {Instance} */ next) => {
      instance = next;
      setBadge(badge, next.leaving ? 'leaving' : next.state);
      setBadge(breaker, wordOf(next, 'breaker'));
      setBadge(probe, wordOf(next, 'probe'));
      setText(reason, next.reason ?? (next.why === 'serving' ? '' : `takes it, by ${next.why}`));
      const texts = [
        count(next.inflight),
        count(next.attempts),
        count(next.failures),
        next.latencyMs === undefined ? '–' : duration(next.latencyMs),
        percent(next.share),
      ];
      numbers.forEach((cell, at) => setText(cell, texts[at]));
      setText(rotate, next.drained ? 'Undrain' : 'Drain');
      rotate.setAttribute('aria-label', `${next.drained ? 'Undrain' : 'Drain'} ${next.id}`);
      show(rotate, !next.leaving);
      unfold();
    };
    return { node: make('tbody', '', make('tr', '', name, ...cells), detail), update };
  }
}

/** The state that a gate's text begins with. @param {Instance} instance @param {Gate['gate']} name */
function wordOf({ gates }, name) {
  return (
    gates
      .find(({ gate }) => gate === name)
      ?.text.split(/[,:;(]/)[0]
      ?.trim() ?? '–'
  );
}

/** What is unfolded below an instance: the gates in the order in which they are asked, then its past. */
class Gates {
  #gates;
  #history;
  #about = make('p', 'hint');

  /** @param {HTMLElement} place */
  constructor(place) {
    const list = make('ol', 'gates');
    const past = make('ol', 'events');
    place.append(this.#about, list, make('h4', '', 'Its past, latest first'), past);
    this.#gates = new Rows(list, (/** @type {Gate & { sinceText: string }} */ { gate }) => gate, gateRow);
    this.#history = eventRows(past, { withSubject: false });
  }

  /** @param {Instance} instance @param {number} nowMs */
  show({ gates, history, zone, version, weight }, nowMs) {
    const about = [`weight ${Number(weight.toPrecision(3))}`, zone && `zone ${zone}`, version && `version ${version}`];
    setText(this.#about, about.filter(Boolean).join(', '));
    const since = (/** @type {Gate} */ { forMs }) => (forMs === undefined ? '' : `since ${age(forMs)}`);
    this.#gates.show(gates.map((gate) => ({ ...gate, sinceText: since(gate) })));
    this.#history(history, nowMs);
  }
}

/** @returns {import('./dom.js').Row<Gate & { sinceText: string }>} */
function gateRow() {
  const badge = make('span');
  const [name, text, since, evidence] = [make('b'), make('span'), make('span', 'hint'), make('ul')];
  const rows = new Rows(
    evidence,
    (/** @type {readonly [number, string]} */ [at]) => String(at),
    () => {
      const node = make('li');
      return { node, update: ([, words]) => setText(node, words) };
    },
  );
  const node = make('li', '', badge, ' ', name, ' ', text, ' ', since, evidence);
  return {
    node,
    update: (gate) => {
      setBadge(badge, gate.verdict);
      setText(name, gate.gate);
      setText(text, gate.text);
      setText(since, gate.sinceText);
      setClass(node, `gate ${gate.verdict}`);
      rows.show(gate.evidence.map((words, at) => /** @type {const} */ ([at, words])));
    },
  };
}
