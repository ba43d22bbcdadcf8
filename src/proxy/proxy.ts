import { SocketBudget } from '../core/socket-budget.ts';
import { type Listener, listen } from '../http1/listener.ts';
import { ServerConnection, type ServerConnectionOptions } from '../http1/server-connection.ts';
import type { RoutedMember, RoutedService } from '../upstream/directory.ts';
import type { ProxyContext } from './context.ts';
import { isTrusted, reportRefusing } from './evidence.ts';
import type { Delivery } from './delivery.ts';
import { Exchange } from './exchange.ts';
import { findHanging } from './hang.ts';
import { PlaceQueues } from './place-queue.ts';
import { Roster } from './roster.ts';
import { WaitingList } from './waiting.ts';

export interface ProxyOptions {
  readonly context: ProxyContext;
  readonly connection: ServerConnectionOptions;
  /** Client connections beyond this are closed as they come. */
  maxConnections: number;
  /** Forces the documented socket layer. For comparison and for tests. */
  readonly plainSockets?: boolean;
  readonly reusePort?: boolean;
  readonly onAcceptError: (code: string) => void;
}

/** How often waiting attempts are looked through. */
const HANG_CHECK_MS = 100;
/** A check this late: the process itself stood still (stopped, a blocked loop), and answers lie unread in its sockets. */
const STALL_MS = 300;
/** What is then given to read them in before anybody is taken for hanging. */
const STALL_REST_MS = 1000;

/** The data plane of one thread: its listeners and its client connections. */
export class Proxy {
  readonly #options: ProxyOptions;
  readonly #exchanges = new Roster<Exchange>();
  readonly #waiting: WaitingList<Delivery>;
  readonly #queues: PlaceQueues;
  readonly #listeners: Listener[] = [];
  #stopHangCheck: () => void;
  #noVerdictsUntilMs = Number.NEGATIVE_INFINITY;
  readonly #sockets: SocketBudget;

  constructor(options: ProxyOptions) {
    this.#options = options;
    this.#sockets = options.context.sockets ?? new SocketBudget({ openFiles: undefined });
    const { context } = options;
    this.#waiting = new WaitingList(context.figures.capacity);
    this.#queues = new PlaceQueues(context.clock);
    context.pool.knocks = {
      wanted: (slot) => isTrusted(context, slot),
      refused: (slot) => {
        reportRefusing(context, slot);
      },
    };
    this.#stopHangCheck = this.#scheduleHangCheck();
  }

  /** Holds for the next connection on. */
  set maxConnections(most: number) {
    this.#options.maxConnections = most;
  }

  get connections(): number {
    return this.#exchanges.size;
  }

  get requests(): number {
    return this.#options.context.requests.own;
  }

  /** Rejects, naming the address, where it cannot be listened on. `fd`: a socket that listens there already. */
  async listen(host: string, port: number, fd?: number): Promise<Listener> {
    const listener = await listen({
      host,
      port,
      fd,
      reusePort: this.#options.reusePort ?? false,
      plainSockets: this.#options.plainSockets ?? false,
      accept: () => (this.#hasRoom() ? this.accept() : undefined),
      onError: this.#options.onAcceptError,
    });
    this.#listeners.push(listener);
    return listener;
  }

  async stopListening(listener: Listener): Promise<void> {
    const at = this.#listeners.indexOf(listener);
    if (at >= 0) this.#listeners.splice(at, 1);
    await listener.close();
  }

  /** The attempts that still wait on this instance move to another one, where that does no harm. */
  moveOff(member: Pick<RoutedMember, 'slot'>): void {
    const waiting = this.#waiting.all.filter(({ waitingOn }) => waitingOn === member.slot);
    for (const delivery of waiting) delivery.moveOff();
  }

  /**
   * Accepts no more, and every answer from now on is the last one of its connection. Idle connections stay: the next
   * request may be on its way already, and its client was never told that there would be none.
   */
  async ease(): Promise<void> {
    this.#options.context.stopping = true;
    await Promise.all(this.#listeners.splice(0).map((listener) => listener.close()));
  }

  /** From now on every answer closes its connection, and idle ones are closed. */
  async drain(): Promise<void> {
    this.#options.context.stopping = true;
    const closing = this.#listeners.splice(0).map((listener) => listener.close());
    for (const exchange of this.#exchanges.all) exchange.connection.drain();
    await Promise.all(closing);
  }

  /** Ends everything at once. */
  close(): void {
    this.#stopHangCheck();
    for (const listener of this.#listeners.splice(0)) void listener.close();
    for (const exchange of this.#exchanges.all) exchange.connection.abort();
    this.#queues.close();
    this.#options.context.pool.close();
  }

  /** A client connects: the sink of its connection, to which its transport is attached next. For listeners. */
  accept(): ServerConnection {
    const exchange = new Exchange(this.#options.context, { waiting: this.#waiting, queues: this.#queues });
    const connection = new ServerConnection(this.#options.connection, exchange);
    exchange.connection = connection;
    const leave = this.#exchanges.add(exchange);
    this.#sockets.addClient(1);
    exchange.onClosed = () => {
      leave();
      this.#sockets.addClient(-1);
    };
    return connection;
  }

  #hasRoom(): boolean {
    const short = this.#sockets.shortForClient(this.#options.maxConnections);
    if (short === undefined) return true;
    // An idle connection to an instance is worth less than a client.
    const swappable = short === 'descriptors' && this.#sockets.clients < this.#sockets.maxClients;
    if (swappable && this.#options.context.pool.giveWay()) return true;
    this.#sockets.refuseClient(short);
    return false;
  }

  #scheduleHangCheck(): () => void {
    const { clock } = this.#options.context;
    const dueMs = clock.now() + HANG_CHECK_MS;
    return clock.after(HANG_CHECK_MS, () => {
      const nowMs = clock.now();
      if (nowMs - dueMs > STALL_MS) this.#noVerdictsUntilMs = nowMs + STALL_REST_MS;
      this.#stopHangCheck = this.#scheduleHangCheck();
      if (nowMs >= this.#noVerdictsUntilMs) this.#checkHanging();
    });
  }

  #checkHanging(): void {
    const { clock, fleet, figures, onHanging } = this.#options.context;
    const { members } = fleet;
    const found = findHanging({ waiting: this.#waiting, nowMs: clock.now(), members, figures });
    for (const delivery of found.lateTrials) delivery.failTrial();
    for (const { slot, cause } of found.hanging) {
      const member = members[slot];
      if (!member) continue;
      onHanging?.(member, cause);
      // Whatever becomes of the instance, which the ejection cap may keep in: these have waited long enough.
      this.moveOff(member);
    }
    // One at a time: what comes of it tells of the others, and a service that is slow as a whole has no more to do for it.
    const asked = new Set<RoutedService | undefined>();
    for (const delivery of found.overdue) {
      const service = members[delivery.waitingOn]?.service;
      if (!asked.has(service) && delivery.askElsewhere()) asked.add(service);
    }
  }
}
