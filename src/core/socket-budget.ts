/**
 * Errors of opening a socket that are about this process or its machine: they say nothing about who was to be reached,
 * and would be the same with anyone else.
 */
const OWN_SHORTAGES: ReadonlySet<string> = new Set(['EMFILE', 'ENFILE', 'ENOBUFS', 'ENOMEM', 'EADDRNOTAVAIL']);

export function isOwnShortage(code: string): boolean {
  return OWN_SHORTAGES.has(code);
}

/** What the process has open besides: listeners, logs, pipes, links to registries, Node's own. */
const BASE = 64;
/** Share of the descriptors that clients may have: each request needs another one towards an instance. */
const CLIENT_SHARE = 5 / 8;
/** Share that neither clients nor instances get, so that operators, registrants and probes still get through. */
const KEPT_SHARE = 1 / 8;

/** What is open, then what was refused. */
const Column = {
  clients: 0,
  instances: 1,
  checks: 2,
  refusedByLimit: 3,
  refusedClients: 4,
  refusedInstances: 5,
} as const;
const OPEN_COLUMNS = 3;
const COLUMNS = 6;

export interface SocketBudgetOptions {
  /** The most file descriptors of the process; undefined where it is not known, which bounds nothing. */
  readonly openFiles: number | undefined;
  /**
   * What is open and what was refused, a row for each thread (`SocketBudget.cells`). A row has one writer. Threads that open at the same moment may pass a bound by one each.
   */
  readonly cells?: Int32Array;
  readonly row?: number;
}

/**
 * Who may open another socket. All of a process share its file descriptors, and running out of them hits whoever comes
 * next: most likely the operator who wants to know why. So each use stops at a mark of its own before the end.
 */
export class SocketBudget {
  /** Client connections that the descriptors permit; Infinity where their limit is not known. */
  readonly maxClients: number;
  /** Infinity where it is not known. */
  readonly openFiles: number;
  readonly #most: number;
  readonly #cells: Int32Array;
  readonly #row: number;

  constructor({ openFiles, cells, row = 0 }: SocketBudgetOptions) {
    const limit = (this.openFiles = openFiles ?? Infinity);
    this.#most = limit === Infinity ? Infinity : Math.max(1, Math.floor(limit * (1 - KEPT_SHARE)) - BASE);
    // Where the base is much of it all, the share alone would leave nothing for instances.
    const forInstances = this.#most === Infinity ? 0 : Math.ceil(this.#most / 8);
    this.maxClients = Math.max(1, Math.min(Math.floor(limit * CLIENT_SHARE), this.#most - forInstances));
    this.#cells = cells ?? new Int32Array(COLUMNS);
    this.#row = row * COLUMNS;
  }

  /** Client connections of all threads. */
  get clients(): number {
    return this.#sum(Column.clients);
  }

  /** Connections to instances of all threads, idle ones and those being made included. */
  get instances(): number {
    return this.#sum(Column.instances);
  }

  /** Whether there is no place for one more client, and what is short then. `atMost`: as configured. */
  shortForClient(atMost: number): 'limit' | 'descriptors' | undefined {
    const { clients } = this;
    if (clients >= atMost) return 'limit';
    return clients >= this.maxClients || this.#full ? 'descriptors' : undefined;
  }

  /** A client was turned away. */
  refuseClient(short: 'limit' | 'descriptors'): void {
    this.#add(short === 'limit' ? Column.refusedByLimit : Column.refusedClients, 1);
  }

  addClient(by: 1 | -1): void {
    this.#add(Column.clients, by);
  }

  /** Takes a place for a connection to an instance, where there is one. */
  takeInstance(): boolean {
    if (this.#full) return false;
    this.addInstance(1);
    return true;
  }

  /** Also for a place that another connection has just given up: its descriptor is free before it is counted. */
  addInstance(by: 1 | -1): void {
    this.#add(Column.instances, by);
  }

  /** A connection to an instance could not be made for want of a descriptor. */
  refuseInstance(): void {
    this.#add(Column.refusedInstances, 1);
  }

  /** Connections refused since the start, by what there was too little of. */
  get refused(): { readonly limit: number; readonly descriptors: number; readonly instances: number } {
    return {
      limit: this.#sum(Column.refusedByLimit),
      descriptors: this.#sum(Column.refusedClients),
      instances: this.#sum(Column.refusedInstances),
    };
  }

  /** A thread has ended, and all that it had open with it. */
  static clear(cells: Int32Array, row: number): void {
    cells.fill(0, row * COLUMNS, row * COLUMNS + OPEN_COLUMNS);
  }

  /** Sockets of health checks, under way or kept, as of now. */
  set checks(count: number) {
    this.#cells[this.#row + Column.checks] = count;
  }

  /** Memory for the rows of as many threads. */
  static cells(rows: number): Int32Array {
    return new Int32Array(new SharedArrayBuffer(rows * COLUMNS * 4));
  }

  get #full(): boolean {
    return this.#used >= this.#most;
  }

  get #used(): number {
    let used = 0;
    for (let column = 0; column < OPEN_COLUMNS; column++) used += this.#sum(column);
    return used;
  }

  #add(column: number, by: number): void {
    (this.#cells[this.#row + column] as number) += by;
  }

  #sum(column: number): number {
    let sum = 0;
    for (let at = column; at < this.#cells.length; at += COLUMNS) sum += this.#cells[at] as number;
    return sum;
  }
}
