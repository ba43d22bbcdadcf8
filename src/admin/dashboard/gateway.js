import { eventRows } from './events.js';
import { byId, facts, make, Rows, setBadge, setText } from './dom.js';
import { age, bytes, count, counted, time } from './text.js';

/**
 * @typedef {import('../reports.ts').OverviewReport} Overview
 * @typedef {import('../deps.ts').RegistryReport} Registry
 * @typedef {{ thread: number, connections: number, heapBytes: number, memoryBytes: number }} Thread
 */

/** What is not about one service: registries, threads, bounds, reloads. */
export class GatewayPart {
  #facts = facts(byId('gateway-facts', HTMLElement));
  #problems;
  #registries;
  #threads;
  #history;
  #wallMs = 0;

  constructor() {
    this.#problems = new Rows(
      byId('problems', HTMLElement),
      (/** @type {string} */ words) => words,
      (words) => ({ node: make('li', '', words), update: () => undefined }),
    );
    this.#registries = new Rows(
      byId('registries-rows', HTMLElement),
      (/** @type {Registry} */ { name }) => name,
      ({ name }) => registryRow(name, () => this.#wallMs),
    );
    this.#threads = new Rows(
      byId('threads-rows', HTMLElement),
      (/** @type {Thread} */ { thread }) => String(thread),
      ({ thread }) => threadRow(thread),
    );
    this.#history = eventRows(byId('gateway-history', HTMLElement), { withSubject: false });
  }

  /** @param {Overview} overview */
  show(overview) {
    const { threads, wallMs, registries, history } = overview;
    this.#wallMs = wallMs;
    this.#problems.show(problemsOf(overview));
    this.#registries.show(registries);
    const { connections = [], heapBytes = [], memoryBytes = [] } = threads ?? {};
    this.#threads.show(
      connections.map((open, thread) => ({
        thread,
        connections: open,
        heapBytes: heapBytes[thread] ?? 0,
        memoryBytes: memoryBytes[thread] ?? 0,
      })),
    );
    this.#facts(factsOf(overview));
    this.#history(history, wallMs);
  }
}

/** @param {Overview} overview */
function problemsOf({ notReady, services, registries, threads, connections, bounds, wallMs, history }) {
  const problems = notReady.map(({ component, reason }) => `Not ready: ${component} ${reason}`);
  if (services.panic > 0) problems.push(`PANIC in ${counted(services.panic, 'service')}: probe verdicts have no say`);
  for (const { name, state, ageMs } of registries) {
    if (state === 'synced') continue;
    problems.push(`Registry ${name} is ${state}${ageMs === undefined ? '' : `, heard from ${age(ageMs)} ago`}`);
  }
  const death = history.findLast(({ kind }) => kind === 'thread');
  if (death && wallMs - death.wall < RECENT_MS) problems.push(`A data thread ended in the last hour: ${death.cause}`);
  const reload = history.findLast(({ kind }) => kind === 'config');
  if (reload?.to === 'refused') problems.push(`The configuration in use is not the file's: ${reload.cause}`);
  const most = limitsOf(bounds).get('connections');
  const open = connections ? connections.downstreamActive + connections.downstreamIdle : 0;
  if (most !== undefined && open > most * NEAR) problems.push(`${count(open)} of ${count(most)} client connections`);
  if (threads && threads.running < threads.wanted) {
    const why = threads.shortage === undefined ? '' : `: ${threads.shortage}`;
    problems.push(`${count(threads.running)} of ${counted(threads.wanted, 'data thread')} run${why}`);
  }
  return problems;
}

const RECENT_MS = 3_600_000;
/** The share of a limit that is worth a word. */
const NEAR = 0.8;

/** @param {Overview['bounds']} bounds @returns {ReadonlyMap<string, number>} */
function limitsOf(bounds) {
  return new Map(bounds?.limits);
}

/** @param {Overview} overview @returns {(readonly [string, string])[]} */
function factsOf({ build, startedWallMs, wallMs, notReady, threads, connections, bounds, reloads }) {
  const limits = limitsOf(bounds);
  const refused = (bounds?.refused ?? [])
    .filter(([, , number]) => number > 0)
    .map(([side, reason, number]) => `${count(number)} ${side} (${reason})`);
  const clients = connections ? connections.downstreamActive + connections.downstreamIdle : 0;
  /** @param {number} number @param {number | undefined} bound */
  const within = (number, bound) =>
    bound === undefined ? count(number) : `${count(number)} of at most ${count(bound)}`;
  return [
    ['Ready', notReady.length === 0 ? 'yes' : 'no'],
    ['Version', `${build.version} on Node ${build.node}`],
    ['Up for', `${age(wallMs - startedWallMs)}, since ${time(startedWallMs, wallMs)}`],
    [
      'Data threads',
      `${threads?.running ?? 0} of ${threads?.wanted ?? 0} running, ${threads?.deaths ?? 0} ended before they should`,
    ],
    ['Client connections', within(clients, limits.get('connections'))],
    ['Requests under way', within(connections?.downstreamActive ?? 0, limits.get('requests'))],
    ['Idle upstream connections', count(connections?.upstreamIdle ?? 0)],
    ['Open files permitted', limits.has('open_files') ? count(limits.get('open_files') ?? 0) : 'not bounded'],
    ['Connections refused', refused.join(', ') || 'none'],
    ['Reloads', `${count(reloads.success)} taken over, ${count(reloads.failure)} refused`],
  ];
}

/** @param {string} title @param {() => number} wallMs @returns {import('./dom.js').Row<Registry>} */
function registryRow(title, wallMs) {
  const name = make('th', '', title);
  name.scope = 'row';
  const badge = make('span');
  const [type, heard, services, instances, note] = [
    make('td'),
    make('td', 'number'),
    make('td', 'number'),
    make('td', 'number'),
    make('td', 'reason'),
  ];
  return {
    node: make('tr', '', name, type, make('td', '', badge), heard, services, instances, note),
    update: (registry) => {
      setText(type, registry.type);
      setBadge(badge, registry.state);
      setText(heard, registry.ageMs === undefined ? 'never' : `${age(registry.ageMs)} ago`);
      setText(services, count(registry.services));
      setText(instances, count(registry.instances));
      setText(note, noteOf(registry, wallMs()));
    },
  };
}

/** @param {Registry} registry @param {number} wallMs */
function noteOf({ held, lastError, retryInMs, leader, endpoint }, wallMs) {
  return [
    ...held.map(
      ({ service, instances, forMs }) => `${counted(instances, 'instance')} of ${service} held for ${age(forMs)}`,
    ),
    ...(lastError ? [`${lastError.message} (${time(lastError.wallMs, wallMs)})`] : []),
    ...(retryInMs === undefined ? [] : [`next try in ${age(retryInMs)}`]),
    ...(endpoint === undefined ? [] : [endpoint]),
    ...(leader === undefined ? [] : [`leader ${leader}`]),
  ].join('; ');
}

/** @param {number} thread @returns {import('./dom.js').Row<Thread>} */
function threadRow(thread) {
  const name = make('th', '', String(thread));
  name.scope = 'row';
  const connections = make('td', 'number');
  const heap = make('td', 'number');
  const memory = make('td', 'number');
  return {
    node: make('tr', '', name, connections, heap, memory),
    update: (figures) => {
      setText(connections, count(figures.connections));
      setText(heap, bytes(figures.heapBytes));
      setText(memory, bytes(figures.memoryBytes));
    },
  };
}
