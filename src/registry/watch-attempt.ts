import { type Clock, sleep } from '../core/clock.ts';
import { type Interest, type RegistryBackend, type RegistryEvent, RegistryRefusal } from './backend.ts';

/** Why a watch is over. `drift` and `requested` are our own decision; `stopped` is the end of following. */
export type WatchEnd = 'error' | 'refused' | 'ended' | 'sync-deadline' | 'silence' | 'drift' | 'requested' | 'stopped';

export interface Ended {
  readonly reason: WatchEnd;
  readonly error: Error;
  /** The backend did not end its iteration within the time it is given: something of it may still be open. */
  readonly stuck: boolean;
}

export interface WatchAttemptOptions {
  readonly backend: RegistryBackend;
  readonly interest: Interest;
  readonly clock: Clock;
  /** Until the first `synced`, an event must come at least this often; and `synced` itself within ten times of it. */
  readonly syncMs: number;
  /** After it, an event must come at least this often; Infinity = whenever. */
  readonly silenceMs: number;
  /** How long an aborted iteration may take to end. */
  readonly endMs: number;
  /** Events are taken for this long before other work gets its turn. */
  readonly sliceMs: number;
  onEvent(event: RegistryEvent): void;
}

/** Progress resets the deadline of the first read, so that a large registry may take its time, but not for ever. */
const SYNC_PATIENCE = 10;

/** One run of `backend.watch`, with the deadlines that a backend may have forgotten. Events stop when `run` resolves. */
export class WatchAttempt {
  readonly #options: WatchAttemptOptions;
  readonly #controller = new AbortController();
  readonly #cut = Promise.withResolvers<{ reason: WatchEnd; error: Error }>();
  #startedMs = 0;
  #lastEventMs = 0;
  #synced = false;
  #over = false;
  #cancelTimer: (() => void) | undefined;

  constructor(options: WatchAttemptOptions) {
    this.#options = options;
  }

  /** Never rejects. */
  async run(signal: AbortSignal): Promise<Ended> {
    const { clock, endMs } = this.#options;
    const stop = (): void => this.cut('stopped', 'following was stopped');
    if (signal.aborted) stop();
    signal.addEventListener('abort', stop, { once: true });
    this.#startedMs = this.#lastEventMs = clock.now();
    this.#watchTime();
    const consuming = this.#consume();
    const ended = await Promise.race([consuming, this.#cut.promise]);
    this.#over = true;
    this.#cancelTimer?.();
    signal.removeEventListener('abort', stop);
    this.#controller.abort();
    const enough = new AbortController();
    const stuck = await Promise.race([
      consuming.then(() => false),
      sleep(clock, endMs, enough.signal).then(() => true),
    ]);
    enough.abort();
    return { ...ended, stuck };
  }

  /** Ends the attempt from outside. The first call counts. */
  cut(reason: WatchEnd, message: string): void {
    this.#cut.resolve({ reason, error: new Error(message) });
  }

  async #consume(): Promise<{ reason: WatchEnd; error: Error }> {
    const { backend, interest, clock, sliceMs } = this.#options;
    try {
      let sliceStartMs = clock.now();
      for await (const event of backend.watch(interest, this.#controller.signal)) {
        if (this.#over) break;
        this.#lastEventMs = clock.now();
        if (event.kind === 'synced') this.#synced = true;
        this.#options.onEvent(event);
        // Events that are ready are handed out in microtasks: without a pause they starve everything else.
        if (this.#lastEventMs - sliceStartMs < sliceMs) continue;
        await new Promise((resolve) => setImmediate(resolve));
        sliceStartMs = clock.now();
      }
      return { reason: 'ended', error: new Error(`the ${backend.type} watch ended without an error`) };
    } catch (error) {
      const reason = error instanceof RegistryRefusal ? 'refused' : 'error';
      return { reason, error: error instanceof Error ? error : new Error(String(error)) };
    }
  }

  /** One timer for all deadlines, set anew only when it fires: an event costs no timer. */
  #watchTime(): void {
    const { clock, syncMs, silenceMs } = this.#options;
    const limitMs = this.#synced ? silenceMs : syncMs;
    const dueMs = Math.min(
      this.#lastEventMs + limitMs,
      this.#synced ? Infinity : this.#startedMs + syncMs * SYNC_PATIENCE,
    );
    if (dueMs === Infinity) return;
    const leftMs = dueMs - clock.now();
    if (leftMs <= 0) {
      if (this.#synced) this.cut('silence', `nothing was heard for ${silenceMs} ms, not even a sign of life`);
      else
        this.cut(
          'sync-deadline',
          `the first read was not complete ${clock.now() - this.#startedMs} ms after the start`,
        );
      return;
    }
    // Before the first sync the other limit may be the shorter one.
    this.#cancelTimer = clock.after(Math.min(leftMs, syncMs, silenceMs), () => this.#watchTime());
  }
}
