import net from 'node:net';
import type { Clock } from '../core/clock.ts';
import { SocketBudget } from '../core/socket-budget.ts';
import { SocketKeeper } from '../http1/kept-socket.ts';
import { openListening, whyNotListening } from '../http1/listening-socket.ts';
import type { Logger } from '../telemetry/log.ts';
import type { ThreadCensus } from '../telemetry/metric-sources.ts';
import { TrafficMeters } from '../telemetry/traffic.ts';
import type { Barrier } from '../upstream/departures.ts';
import type { Fleet } from '../upstream/fleet.ts';
import { OwnFigures } from '../upstream/figures.ts';
import { cpuMsOf } from './cpu-time.ts';
import type { Failing } from './failing.ts';
import { Feed } from './feed.ts';
import { followFleet } from './follow-fleet.ts';
import type { ThreadSettings, ThreadSetup } from './messages.ts';
import { type GivenSockets, Place } from './place.ts';
import { Replacement } from './replacement.ts';
import { Seat, type Told } from './seat.ts';
import { type StatusFigure, ThreadStatus } from './status.ts';
import { Watchdog } from './watchdog.ts';
import { type SpawnThread, spawnWorker } from './worker-thread.ts';

export interface DataThreadsOptions {
  readonly clock: Clock;
  readonly fleet: Fleet;
  readonly barrier: ThreadBarrier;
  readonly log: Logger;
  readonly count: number;
  /** The platform lets several sockets listen at one address. Needed for more than one thread. */
  readonly reusePort: boolean;
  /** As many as were asked for, where there are fewer, and why. */
  readonly wanted?: number;
  readonly shortage?: string | undefined;
  readonly settings: ThreadSettings;
  /** Of `SocketBudget`: a row for each thread, and before them the first for the control thread. */
  readonly sockets: ThreadSetup['sockets'];
  /** Rows of the meters of each thread. */
  readonly serviceRows: number;
  /** The row of a service in them. */
  readonly rowOf: (service: string) => number;
  readonly spawn?: SpawnThread;
  /** False: each thread opens its own sockets, as where the platform can do no better. */
  readonly keepSockets?: boolean;
  /** An instance hangs, or (`unreachable`) nobody listens there: it should be out of the rotation. */
  readonly onSuspect: (slot: number, cause: string, unreachable: boolean) => void;
  readonly onRefused: (reason: string, count: number) => void;
  /** Whole lines of the access log. */
  readonly onLines: (lines: Uint8Array) => void;
  /** A thread has ended before it should. Another takes its place. */
  readonly onDied: (thread: number, cause: string) => void;
}

/** A listener of the data plane: a socket on each thread, all at the same address. */
export interface ThreadListener {
  readonly host: string;
  readonly port: number;
  /** Of the sockets, as long as their threads live. */
  readonly fds: readonly number[];
  close(): Promise<void>;
}

/** Handed to the fleet before there are threads. */
export class ThreadBarrier implements Barrier {
  seats: readonly Seat[] = [];

  mark(): () => boolean {
    const marks = this.seats.map(({ feed }) => feed?.mark());
    return () => marks.every((passed) => passed === undefined || passed());
  }
}

const MIB = 2 ** 20;
const NONE: GivenSockets = { fds: [], held: false };
/** What threads have to hand on their last lines, and to end. */
const CLOSE_MS = 1000;

/** The data-plane threads, as the control thread has them: fed, watched, and replaced where one dies. */
export class DataThreads {
  readonly #options: DataThreadsOptions;
  readonly #status: ThreadStatus;
  readonly #seats: readonly Seat[];
  readonly #replacements: readonly Replacement[];
  readonly #watchdog: Watchdog;
  readonly #places = new Set<Place>();
  #keeping: Promise<SocketKeeper | undefined> | undefined;
  #settings: ThreadSettings;
  #stopListening: () => void;
  /** Threads that end are not replaced any more. */
  #finishing = false;
  #deaths = 0;

  /** The threads begin; nobody listens yet. */
  constructor(options: DataThreadsOptions) {
    const { clock, count, fleet, serviceRows } = options;
    this.#options = options;
    this.#settings = options.settings;
    this.#status = new ThreadStatus(count);
    this.#seats = Array.from({ length: count }, (_, number) => this.#makeSeat(number, serviceRows));
    this.#replacements = this.#seats.map((seat, number) => new Replacement(clock, () => this.#begin(seat, number)));
    this.#watchdog = new Watchdog({
      clock,
      threads: count,
      beatsOf: (thread) => this.#status.get(thread, 'heartbeat'),
      cpuOf: (thread) => cpuMsOf(this.#status.get(thread, 'threadId')),
      memoryOf: (thread) => this.#status.get(thread, 'memoryMb'),
      weigh: async (thread) => this.#seats[thread]?.weigh(),
      // V8 holds a thread to what was permitted when it began.
      maxMemoryOf: (thread) => Math.min(memoryMbOf(this.#settings), this.#seats[thread]?.memoryMb ?? 0),
      onBloated: (thread, memoryMb) => {
        this.#options.log.error('data-plane thread has used up its memory: it is ended', { thread, memoryMb });
        void this.#seats[thread]?.terminate();
      },
      onStuck: (thread, forMs) => {
        this.#options.log.error('data-plane thread is stuck: it is ended', { thread, forMs });
        void this.#seats[thread]?.terminate();
      },
    });
    options.barrier.seats = this.#seats;
    this.#stopListening = followFleet(fleet, this.#seats);
    for (const [number, seat] of this.#seats.entries()) this.#begin(seat, number);
  }

  /** The counters of each, for the scrape. They outlive the threads. */
  get meters(): readonly TrafficMeters[] {
    return this.#seats.map(({ meters }) => meters);
  }

  /** Those that are there, those that have died so far, and what each of them has. */
  get census(): ThreadCensus {
    const each = (figure: StatusFigure): number[] => this.#seats.map((_, number) => this.#status.get(number, figure));
    return {
      running: this.#seats.filter(({ isTaken }) => isTaken).length,
      wanted: this.#options.wanted ?? this.#options.count,
      shortage: this.#options.shortage,
      deaths: this.#deaths,
      connections: each('connections'),
      heapBytes: each('heapMb').map((heapMb) => heapMb * MIB),
      memoryBytes: each('memoryMb').map((memoryMb) => memoryMb * MIB),
    };
  }

  /** No thread takes clients, and each of them dies again and again. */
  get isStalled(): boolean {
    return this.#seats.every(({ accepts }, number) => !accepts && this.#replacements[number]?.isStruggling === true);
  }

  /** Over all threads; at most a twentieth of a second old. */
  sum(figure: StatusFigure): number {
    return this.#status.sum(figure);
  }

  /**
   * Rejects, with nothing left open, where an address cannot be listened on. `given`: sockets that listen there
   * already, of a predecessor or of systemd.
   */
  async listen(host: string, port: number, given: GivenSockets = NONE): Promise<ThreadListener> {
    if (given.fds.length === 0 && port !== 0) await refuseTaken(host, port);
    const place = new Place(await this.#keeper(), this.#seats, this.#options.log);
    this.#places.add(place);
    try {
      await place.open({ host, port, reusePort: this.#options.reusePort }, given);
    } catch (error) {
      await this.#close(place);
      const reason = error instanceof Error ? error.message : String(error);
      throw new Error(reason.startsWith('cannot listen') ? reason : `cannot listen on ${host}:${port}: ${reason}`, {
        cause: error,
      });
    }
    return {
      host: place.host,
      port: place.port,
      get fds() {
        return place.fds;
      },
      close: () => this.#close(place),
    };
  }

  /** For the threads that are there and those to come. */
  reconfigure(settings: ThreadSettings): void {
    this.#settings = settings;
    for (const seat of this.#seats) seat.tell({ type: 'settings', settings });
  }

  get settings(): ThreadSettings {
    return this.#settings;
  }

  /** See `Proxy.ease` and `Proxy.drain`. */
  async finish(how: 'ease' | 'drain'): Promise<void> {
    this.#finishing = true;
    await Promise.allSettled(this.#seats.map((seat) => seat.ask({ type: how })));
    for (const place of this.#places) place.release();
    this.#places.clear();
  }

  /** Ends the threads, and what is open on them. */
  async close(): Promise<void> {
    this.#finishing = true;
    this.#stopListening();
    this.#watchdog.stop();
    for (const replacement of this.#replacements) replacement.stop();
    const { clock } = this.#options;
    let cancel = (): void => undefined;
    const late = new Promise<void>((resolve) => {
      cancel = clock.after(CLOSE_MS, resolve);
    });
    await Promise.race([Promise.allSettled(this.#seats.map((seat) => seat.ask({ type: 'close' }))), late]);
    cancel();
    await Promise.all(this.#seats.map((seat) => seat.terminate()));
    for (const place of this.#places) place.release();
  }

  /** Of a test: what a defect in a thread would do. */
  fail(thread: number, how: Failing): void {
    this.#seats[thread]?.fail(how);
  }

  #makeSeat(number: number, serviceRows: number): Seat {
    const { clock, fleet, rowOf, spawn } = this.#options;
    const own = new OwnFigures(fleet.figures.capacity);
    const meters = new TrafficMeters({ services: serviceRows });
    const setup = (): ThreadSetup => ({
      number,
      threads: this.#options.count,
      reusePort: this.#options.reusePort,
      figures: fleet.figures.shared,
      own: own.buffer,
      meters: { services: serviceRows, buffer: meters.buffer },
      status: this.#status.buffer,
      sockets: this.#options.sockets,
      memoryMb: memoryMbOf(this.#settings),
      settings: this.#settings,
    });
    return new Seat({
      clock,
      setup,
      own,
      meters,
      spawn: spawn ?? spawnWorker,
      feed: (send) =>
        new Feed({
          fleet,
          rowOf,
          send: (update) => {
            send({ type: 'update', update });
          },
        }),
      takenRequest: () => this.#status.get(number, 'taken'),
      onMessage: (message) => {
        this.#receive(number, message);
      },
      onExit: (cause) => {
        this.#died(number, cause);
      },
    });
  }

  #receive(thread: number, message: Told): void {
    const { fleet, log, onSuspect, onRefused, onLines } = this.#options;
    switch (message.type) {
      case 'breakers':
        for (const [what, slot, circuit, outcome] of message.reports)
          fleet.breakerReports[what](slot, circuit, outcome);
        break;
      case 'suspect':
        onSuspect(message.slot, message.cause, message.unreachable);
        break;
      case 'refused':
        for (const [reason, count] of message.counts) onRefused(reason, count);
        break;
      case 'acceptFailed':
        log.error('a connection could not be accepted', { thread, code: message.code });
        break;
      case 'lines':
        onLines(message.lines);
        break;
    }
  }

  #begin(seat: Seat, number: number): void {
    this.#watchdog.reset(number);
    seat.start();
    const { log, clock } = this.#options;
    const { life } = seat;
    const isThere = (): boolean => seat.isTaken && seat.life === life;
    const opening = [...this.#places].map((place) => place.reopen(number));
    Promise.all(opening).then(
      () => {
        if (!isThere()) return;
        seat.accepts = true;
        if (opening.length === 0) return;
        log.info('data-plane thread replaced', { thread: number, afterMs: Math.round(clock.now() - seat.beganMs) });
      },
      (error: unknown) => {
        if (!isThere()) return;
        // It ends, and the next one tries again.
        log.error('a new data-plane thread cannot listen', { thread: number, error });
        void seat.terminate();
      },
    );
  }

  /** What waits in the queues of threads that are not replaced soon is accepted by others. */
  #cover(): void {
    for (const place of this.#places) {
      place.cover().catch((error: unknown) => {
        this.#options.log.error('a thread cannot listen in place of another', { error });
      });
    }
  }

  #died(number: number, cause: string): void {
    const { fleet, log, onDied, clock } = this.#options;
    const seat = this.#seats[number] as Seat;
    fleet.figures.giveBack(seat.own);
    this.#status.clear(number);
    SocketBudget.clear(this.#options.sockets.cells, number + 1);
    fleet.trialsLost(number + 1);
    if (this.#finishing) return;
    const livedMs = clock.now() - seat.beganMs;
    const retryInMs = (this.#replacements[number] as Replacement).after(livedMs);
    log.error('data-plane thread has ended: another takes its place', { thread: number, cause, livedMs, retryInMs });
    this.#deaths++;
    onDied(number, cause);
    if (this.#replacements.some(({ isStruggling }) => isStruggling)) this.#cover();
  }

  async #close(place: Place): Promise<void> {
    this.#places.delete(place);
    await place.close();
  }

  #keeper(): Promise<SocketKeeper | undefined> {
    return (this.#keeping ??= this.#options.keepSockets === false ? Promise.resolve(undefined) : SocketKeeper.open());
  }
}

function memoryMbOf({ gateway }: ThreadSettings): number {
  return Math.ceil(gateway.limits.threadMemoryBytes / MIB);
}

/** Sockets of ours share an address; a socket of somebody else there is a mistake, and must be seen. */
async function refuseTaken(host: string, port: number): Promise<void> {
  const server = net.createServer();
  try {
    await openListening(server, { host, port });
  } catch (error) {
    throw new Error(`cannot listen on ${host}:${port}: ${whyNotListening(error)}`, { cause: error });
  }
  await new Promise((resolve) => server.close(resolve));
}
