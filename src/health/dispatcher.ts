import type { Clock } from '../core/clock.ts';
import { Alarm, type TimingWheel } from '../core/wheel.ts';
import { Fifo } from './fifo.ts';

/** Something that wants to run. The dispatcher owns `queued` and `lane`; the job's owner the rest. */
export interface Job {
  /** Jobs of one host share `perHost`. The same for as long as the job lives. */
  readonly host: string;
  /** Its last run failed, so that the next one may well take until its deadline. */
  readonly suspect: boolean;
  /** Still wanted. A job withdrawn while queued is dropped when its turn comes. */
  readonly wanted: boolean;
  queued: boolean;
  lane: 'steady' | 'suspect';
}

/** What runs on one host just now, and what waits for room there. Exists while either is anything. */
interface HostLoad<J> {
  running: number;
  readonly parked: Fifo<J>;
}

export interface DispatcherLimits {
  /** Jobs running at once. */
  readonly concurrency: number;
  /** Jobs running at once on one host. */
  readonly perHost: number;
  /** Jobs begun in one tick of 10 ms: a burst must not block the loop that it measures others by. */
  readonly startsPerTick: number;
}

const TICK_MS = 10;
/** The longest turn of starts: a new connection costs several times as much as a kept one. */
const START_MS = 5;
const SMALLEST_CONCURRENCY = 16;

/**
 * Decides who runs next. Two queues: jobs that may hang (`suspect`) get at most half of the places and every other
 * turn, so that a black hole behind half of the instances does not delay the probes of the other half. A job whose
 * host is full waits with its host and holds nobody else up.
 *
 * Bounded by its users: a job is in at most one queue, once.
 */
export class Dispatcher<J extends Job> {
  readonly #clock: Clock;
  readonly #wheel: TimingWheel;
  readonly #limits: DispatcherLimits;
  readonly #begin: (job: J, nowMs: number) => void;
  readonly #lanes = { steady: new Fifo<J>(), suspect: new Fifo<J>() };
  /** Jobs that waited for their host, which now has room. */
  readonly #released = new Fifo<J>();
  readonly #hosts = new Map<string, HostLoad<J>>();
  readonly #nextTick: Alarm;
  #running = 0;
  #suspectsRunning = 0;
  #queued = 0;
  /** Shrinks when the machine cannot carry as many. */
  #concurrency: number;
  #suspectsTurn = false;
  #tickEndMs = Number.NEGATIVE_INFINITY;
  #startedInTick = 0;
  #pumping = false;
  #stopped = false;

  constructor(clock: Clock, wheel: TimingWheel, limits: DispatcherLimits, begin: (job: J, nowMs: number) => void) {
    this.#clock = clock;
    this.#wheel = wheel;
    this.#limits = limits;
    this.#begin = begin;
    this.#concurrency = limits.concurrency;
    this.#nextTick = new Alarm((nowMs) => this.#pump(nowMs));
  }

  get running(): number {
    return this.#running;
  }

  get queued(): number {
    return this.#queued;
  }

  get concurrency(): number {
    return Math.floor(this.#concurrency);
  }

  /** Runs the job now or when its turn comes. */
  offer(job: J, nowMs: number): void {
    if (job.queued) return;
    job.queued = true;
    job.lane = job.suspect ? 'suspect' : 'steady';
    this.#queued++;
    this.#lanes[job.lane].push(job);
    this.#pump(nowMs);
  }

  /** A job that was begun has ended. */
  ended(job: J): void {
    this.#running--;
    if (job.lane === 'suspect') this.#suspectsRunning--;
    this.#leaveHost(job.host);
    // Grows back by about a tenth a second under load, as long as nothing runs short again.
    if (this.#concurrency < this.#limits.concurrency)
      this.#concurrency = Math.min(this.#limits.concurrency, this.#concurrency + 0.1);
    if (this.#queued > 0) this.#pump(this.#clock.now());
  }

  /** Begins nothing any more. */
  stop(): void {
    this.#stopped = true;
    this.#wheel.cancel(this.#nextTick);
  }

  /** The machine could not carry what runs now: run fewer at once. */
  shrink(): void {
    this.#concurrency = Math.max(
      Math.min(SMALLEST_CONCURRENCY, this.#limits.concurrency),
      Math.min(this.#concurrency, this.#running / 2),
    );
  }

  #leaveHost(name: string): void {
    const host = this.#hosts.get(name);
    if (host === undefined) return;
    host.running--;
    let next = host.parked.shift();
    while (next !== undefined && !next.wanted) {
      // Dropped at once: nothing would end for it, so nothing would release the one behind it.
      next.queued = false;
      this.#queued--;
      next = host.parked.shift();
    }
    if (next !== undefined) this.#released.push(next);
    if (host.running === 0 && host.parked.size === 0) this.#hosts.delete(name);
  }

  #hostOf(name: string): HostLoad<J> {
    let host = this.#hosts.get(name);
    if (host === undefined) this.#hosts.set(name, (host = { running: 0, parked: new Fifo<J>() }));
    return host;
  }

  #pump(nowMs: number): void {
    if (this.#pumping || this.#stopped) return;
    this.#pumping = true;
    const untilMs = this.#clock.now() + START_MS;
    try {
      while (this.#queued > 0 && this.#running < this.#concurrency) {
        if (!this.#mayStartInTick(nowMs)) return;
        const job = this.#next();
        if (job === undefined) return;
        job.queued = false;
        this.#queued--;
        if (!job.wanted) continue;
        this.#startedInTick++;
        this.#running++;
        if (job.lane === 'suspect') this.#suspectsRunning++;
        this.#hostOf(job.host).running++;
        this.#begin(job, nowMs);
        if (this.#clock.now() > untilMs) {
          this.#continueLater();
          return;
        }
      }
    } finally {
      this.#pumping = false;
    }
  }

  #mayStartInTick(nowMs: number): boolean {
    if (nowMs >= this.#tickEndMs) {
      this.#tickEndMs = nowMs + TICK_MS;
      this.#startedInTick = 0;
    }
    if (this.#startedInTick < this.#limits.startsPerTick) return true;
    this.#continueLater();
    return false;
  }

  #continueLater(): void {
    if (!this.#nextTick.scheduled) this.#wheel.schedule(this.#nextTick, this.#tickEndMs);
  }

  /** The next job whose host has room. Those whose host is full are parked with it. */
  #next(): J | undefined {
    while (true) {
      const job = this.#released.shift() ?? this.#nextOfLanes();
      if (job === undefined || !job.wanted) return job;
      const host = this.#hosts.get(job.host);
      if (host === undefined || host.running < this.#limits.perHost) return job;
      host.parked.push(job);
    }
  }

  #nextOfLanes(): J | undefined {
    const suspectsMay = this.#suspectsRunning < Math.max(1, this.#concurrency / 2);
    const suspectsFirst = this.#suspectsTurn && suspectsMay;
    this.#suspectsTurn = !this.#suspectsTurn;
    const { steady, suspect } = this.#lanes;
    if (suspectsFirst) return suspect.shift() ?? steady.shift();
    return steady.shift() ?? (suspectsMay ? suspect.shift() : undefined);
  }
}
