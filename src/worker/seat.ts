import type { Clock } from '../core/clock.ts';
import type { TrafficMeters } from '../telemetry/traffic.ts';
import type { OwnFigures } from '../upstream/figures.ts';
import type { Failing } from './failing.ts';
import type { Feed } from './feed.ts';
import type { FromThread, Listening, ThreadSetup, ToThread } from './messages.ts';
import type { SpawnThread, ThreadHandle } from './worker-thread.ts';

/** A message that is answered, without the number by which the answer is known. */
export type Asking =
  Extract<ToThread, { request: number }> extends infer Each
    ? Each extends { request: number }
      ? Omit<Each, 'request'>
      : never
    : never;

/** What a thread says of its own accord. */
export type Told = Exclude<FromThread, { type: 'applied' | 'done' | 'failed' }>;

export interface SeatOptions {
  readonly clock: Clock;
  readonly setup: () => ThreadSetup;
  readonly own: OwnFigures;
  readonly meters: TrafficMeters;
  readonly spawn: SpawnThread;
  readonly feed: (send: (message: ToThread) => void) => Feed;
  /** Request of the last `listen` that a thread of this seat has begun with. */
  readonly takenRequest: () => number;
  readonly onMessage: (message: Told) => void;
  /** The thread has ended, be it by itself or not. */
  readonly onExit: (cause: string) => void;
}

interface Pending {
  readonly resolve: (result: Listening | undefined) => void;
  readonly reject: (error: Error) => void;
}

/** The thread has ended before it answered. */
export class ThreadEnded extends Error {
  override readonly name = 'ThreadEnded';
  /** It has not even taken the descriptor that it was sent. */
  readonly untouched: boolean;

  constructor(cause: string, untouched: boolean) {
    super(`the thread has ended: ${cause}`);
    this.untouched = untouched;
  }
}

/** The place of one data-plane thread, whichever thread fills it just now: what is its own outlives it. */
export class Seat {
  readonly own: OwnFigures;
  readonly meters: TrafficMeters;
  feed: Feed | undefined;
  /** `clock.now()` at which the present thread began. */
  beganMs = 0;
  /** Which thread it is that has the seat, or had it last. */
  life = 0;
  /** The present thread takes clients. */
  accepts = false;
  /** What the present thread may have, as it was when it began. */
  memoryMb = 0;
  readonly #options: SeatOptions;
  readonly #pending = new Map<number, Pending>();
  #requests = 0;
  #thread: ThreadHandle | undefined;
  #ending: Promise<void> | undefined;

  constructor(options: SeatOptions) {
    this.#options = options;
    this.own = options.own;
    this.meters = options.meters;
  }

  get isTaken(): boolean {
    return this.#thread !== undefined;
  }

  /** A thread takes the seat, and is told everything. */
  start(): void {
    const { spawn, setup, clock } = this.#options;
    this.beganMs = clock.now();
    this.life++;
    const born = setup();
    this.memoryMb = born.memoryMb;
    const thread: ThreadHandle = spawn(born, {
      onMessage: (message) => {
        if (this.#thread === thread) this.#receive(message);
      },
      onExit: (cause) => {
        if (this.#thread === thread) this.#exited(cause);
      },
    });
    this.#thread = thread;
    this.feed = this.#options.feed((message) => {
      this.tell(message);
    });
  }

  tell(message: ToThread): void {
    this.#thread?.post(message);
  }

  /** Rejects with what the thread says against it, or when it ends before it has answered. */
  ask(message: Asking): Promise<Listening | undefined> {
    if (!this.#thread) return Promise.reject(new ThreadEnded('it is not there', true));
    const request = ++this.#requests;
    return new Promise((resolve, reject) => {
      this.#pending.set(request, { resolve, reject });
      this.tell({ ...message, request });
    });
  }

  /** Of a test. */
  fail(how: Failing): void {
    this.#thread?.post({ type: 'fail', how });
  }

  /** See `ThreadHandle`; undefined where there is no telling. */
  async weigh(): Promise<number | undefined> {
    return this.#thread?.weigh?.();
  }

  /** Ends the thread at once; `onExit` follows. */
  async terminate(): Promise<void> {
    this.#ending ??= this.#thread?.terminate();
    await this.#ending;
  }

  #receive(message: FromThread): void {
    if (message.type === 'applied') this.feed?.acknowledged(message.through);
    else if (message.type === 'done') this.#settle(message.request)?.resolve(message.result);
    else if (message.type === 'failed') this.#settle(message.request)?.reject(new Error(message.message));
    else this.#options.onMessage(message);
  }

  #settle(request: number): Pending | undefined {
    const pending = this.#pending.get(request);
    this.#pending.delete(request);
    return pending;
  }

  #exited(cause: string): void {
    this.#thread = undefined;
    this.accepts = false;
    this.#ending = undefined;
    this.feed?.close();
    this.feed = undefined;
    const taken = this.#options.takenRequest();
    for (const [request, { reject }] of this.#pending) reject(new ThreadEnded(cause, request > taken));
    this.#pending.clear();
    this.#options.onExit(cause);
  }
}
