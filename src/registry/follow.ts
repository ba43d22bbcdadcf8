import { type Clock, sleep } from '../core/clock.ts';
import type { Random } from '../core/random.ts';
import type { Interest, RegistryBackend, RegistryEvent } from './backend.ts';
import { ListReader, type Reading, type ReadTarget } from './list-reader.ts';
import type { TableEvent } from './table.ts';
import { type Ended, WatchAttempt, type WatchEnd } from './watch-attempt.ts';

export interface FollowTimings {
  /** Bounds of the pause before a new watch; drawn with full jitter below a ceiling that doubles up to the second. */
  readonly backoffMinMs: number;
  readonly backoffMaxMs: number;
  /** A watch that stayed in sync for this long ends the doubling. */
  readonly stableMs: number;
  /** A watch must make progress towards its first `synced` at least this often. */
  readonly syncMs: number;
  /** A watch in sync must say something at least this often. The backend's own promise where it is missing. */
  readonly maxSilenceMs?: number;
  /** Everything is read anew and compared this often, ± 20 %. 0 = never. */
  readonly relistMs: number;
  /** A list must be complete within this time. */
  readonly listMs: number;
  /** A difference between list and table that lasts this long is drift, and no mere delay of the watch. */
  readonly driftMs: number;
  /** Lost for this long is `failed`. */
  readonly failedAfterMs: number;
  readonly endMs: number;
  readonly sliceMs: number;
}

export const FOLLOW_DEFAULTS: FollowTimings = {
  backoffMinMs: 500,
  backoffMaxMs: 30_000,
  stableMs: 30_000,
  syncMs: 30_000,
  relistMs: 300_000,
  listMs: 30_000,
  driftMs: 2000,
  failedAfterMs: 60_000,
  endMs: 5000,
  sliceMs: 2,
};

/**
 * `init`: not yet heard from. `synced`: watching. `stale`: the registry is lost, and the last good set (or the saved
 * one) is in use. `failed`: it never answered and nothing is saved, or it refuses us, or it has been lost for long.
 * Whatever the state, what was known stays in use, and connecting is tried again.
 */
export type FollowState = 'init' | 'synced' | 'stale' | 'failed';

export interface FollowTarget extends ReadTarget {
  apply(event: TableEvent, arrivedMs: number): void;
  /** The services of which the registry is taken to know. */
  known(): Iterable<string>;
}

export interface Loss {
  readonly reason: WatchEnd;
  readonly message: string;
  /** The registry does not let us in: an operator has to act. */
  readonly refused: boolean;
  readonly retryInMs: number;
  /** Attempts since the last time in sync, this one included. */
  readonly attempts: number;
  /** The backend ignores its abort signal: a bug that leaks. */
  readonly stuck: boolean;
}

export interface FollowListener {
  state?(state: FollowState, previous: FollowState): void;
  lost?(loss: Loss): void;
  synced?(info: { readonly afterMs: number; readonly revision: string | undefined }): void;
  event?(kind: RegistryEvent['kind']): void;
  resync?(reason: WatchEnd): void;
  leaderChanged?(leader: string, previous: string): void;
  drift?(services: readonly string[]): void;
  listFailed?(error: Error): void;
}

export interface FollowOptions {
  readonly backend: RegistryBackend;
  readonly interest: Interest;
  readonly target: FollowTarget;
  readonly clock: Clock;
  readonly random: Random;
  readonly timings: FollowTimings;
  readonly listener: FollowListener;
}

export interface FollowStatus {
  readonly state: FollowState;
  /** Since the registry was last heard from; undefined = never. */
  readonly ageMs: number | undefined;
  readonly lastError: { readonly message: string; readonly refused: boolean; readonly wallMs: number } | undefined;
  readonly endpoint: string | undefined;
  readonly leader: string | undefined;
  readonly revision: string | undefined;
  /** Until the next attempt; undefined while one is under way. */
  readonly retryInMs: number | undefined;
  readonly counters: FollowCounters;
}

export interface FollowCounters {
  readonly events: Readonly<Record<RegistryEvent['kind'], number>>;
  /** Watches begun anew, by why the one before ended. */
  readonly resyncs: ReadonlyMap<WatchEnd, number>;
  readonly leaderChanges: number;
  /** Services in which a full read found another state than the watch had told. */
  readonly drift: number;
  readonly lists: number;
  readonly listFailures: number;
}

const MIN_PAUSE_MS = 100;

/**
 * Keeps one watch of one registry alive, and the target up to date.
 *
 * Losing the registry, in whatever way, changes nothing in the target. Services that a complete first read did not name
 * are reported absent. Beside the watch a full list is compared with the target now and then; what differs for longer
 * than a delay is repaired, counted as drift, and the watch that missed it is begun anew.
 */
export class RegistryFollower {
  readonly #options: FollowOptions;
  readonly #timings: FollowTimings;
  readonly #clock: Clock;
  readonly #stopped = new AbortController();
  readonly #reader: ListReader;
  readonly #events = { reset: 0, upsert: 0, remove: 0, absent: 0, synced: 0 };
  readonly #resyncs = new Map<WatchEnd, number>();
  #state: FollowState = 'init';
  #attempt: WatchAttempt | undefined;
  #named: Set<string> | undefined;
  #attempts = 0;
  #attemptStartMs = 0;
  #syncedAtMs = 0;
  #contactMs: number | undefined;
  #retryAtMs: number | undefined;
  #lastError: FollowStatus['lastError'];
  #revision: string | undefined;
  #leader: string | undefined;
  #leaderChanges = 0;
  #drift = 0;
  #cancelFailed: (() => void) | undefined;
  #running: Promise<unknown> = Promise.resolve();

  constructor(options: FollowOptions) {
    this.#options = options;
    this.#timings = options.timings;
    this.#clock = options.clock;
    this.#reader = new ListReader(options.backend, options.interest, options.clock, options.timings.listMs);
  }

  get state(): FollowState {
    return this.#state;
  }

  start(): void {
    this.#running = Promise.all([this.#follow(), this.#relistForever()]);
  }

  /** Resolves when everything of the backend is released, or given up on. */
  async stop(): Promise<void> {
    this.#stopped.abort();
    this.#cancelFailed?.();
    await this.#running;
  }

  /** The target holds a saved set, which was in contact `ageMs` ago. To be called before the first contact. */
  adopted(ageMs: number): void {
    this.#contactMs ??= this.#clock.now() - ageMs;
    if (this.#state === 'init' || this.#state === 'failed') this.#become('stale');
  }

  /** Begins the watch anew, as an operator may ask. */
  restart(message: string): void {
    this.#attempt?.cut('requested', message);
  }

  status(): FollowStatus {
    const nowMs = this.#clock.now();
    const info = this.#options.backend.info();
    const fresh = this.#state === 'synced' && this.#options.backend.alwaysFresh === true;
    return {
      state: this.#state,
      ageMs: fresh ? 0 : this.#contactMs === undefined ? undefined : nowMs - this.#contactMs,
      lastError: this.#lastError,
      endpoint: info.endpoint,
      leader: info.leader,
      revision: info.revision ?? this.#revision,
      retryInMs: this.#retryAtMs === undefined ? undefined : Math.max(0, this.#retryAtMs - nowMs),
      counters: {
        events: { ...this.#events },
        resyncs: new Map(this.#resyncs),
        leaderChanges: this.#leaderChanges,
        drift: this.#drift,
        lists: this.#reader.lists,
        listFailures: this.#reader.failures,
      },
    };
  }

  /** A full read of these services, or of everything. Rejects as `backend.list` does, and when it takes too long. */
  async read(services: ReadonlySet<string> | undefined, signal: AbortSignal): Promise<Reading> {
    const reading = await this.#reader.read(services, AbortSignal.any([signal, this.#stopped.signal]));
    this.#contactMs = this.#clock.now();
    return reading;
  }

  async #follow(): Promise<void> {
    const { signal } = this.#stopped;
    while (!signal.aborted) {
      const ended = await this.#watch(signal);
      if (this.#isStopped()) return;
      const pauseMs = this.#lost(ended);
      this.#retryAtMs = this.#clock.now() + pauseMs;
      await sleep(this.#clock, pauseMs, signal);
      this.#retryAtMs = undefined;
    }
  }

  async #watch(signal: AbortSignal): Promise<Ended> {
    const { backend, interest, clock } = this.#options;
    const { syncMs, endMs, sliceMs, maxSilenceMs } = this.#timings;
    this.#named = new Set();
    this.#attemptStartMs = clock.now();
    this.#attempt = new WatchAttempt({
      backend,
      interest,
      clock,
      syncMs,
      endMs,
      sliceMs,
      silenceMs: maxSilenceMs ?? backend.maxSilenceMs ?? Infinity,
      onEvent: (event) => this.#take(event),
    });
    const ended = await this.#attempt.run(signal);
    this.#attempt = undefined;
    return ended;
  }

  /** Books the loss, and answers how long to wait. */
  #lost({ reason, error, stuck }: Ended): number {
    const nowMs = this.#clock.now();
    const wasSynced = this.#state === 'synced';
    const refused = reason === 'refused';
    if (wasSynced && nowMs - this.#syncedAtMs >= this.#timings.stableMs) this.#attempts = 0;
    this.#attempts += 1;
    this.#resyncs.set(reason, (this.#resyncs.get(reason) ?? 0) + 1);
    this.#options.listener.resync?.(reason);
    const message = describe(error);
    this.#lastError = { message, refused, wallMs: this.#clock.wall() };
    const retryInMs = this.#pause(reason);
    if (refused || this.#state === 'init') this.#become('failed');
    else if (wasSynced) this.#become('stale');
    this.#options.listener.lost?.({ reason, message, refused, retryInMs, attempts: this.#attempts, stuck });
    return retryInMs;
  }

  /** Full jitter, so that a thousand gateways do not come back in the same instant. */
  #pause(reason: WatchEnd): number {
    const { backoffMinMs, backoffMaxMs } = this.#timings;
    const { random } = this.#options;
    // Retrying does not mend a refusal: only an operator does, and the registry's log should not drown meanwhile.
    if (reason === 'refused') return backoffMaxMs * (0.5 + 0.5 * random());
    if (reason === 'drift' || reason === 'requested') return Math.min(MIN_PAUSE_MS, backoffMinMs);
    const ceilingMs = Math.min(backoffMaxMs, backoffMinMs * 2 ** Math.min(this.#attempts - 1, 20));
    return Math.max(Math.min(MIN_PAUSE_MS, backoffMinMs), ceilingMs * random());
  }

  #take(event: RegistryEvent): void {
    const nowMs = this.#clock.now();
    this.#contactMs = nowMs;
    this.#events[event.kind] += 1;
    this.#options.listener.event?.(event.kind);
    if (event.kind === 'synced') {
      this.#synced(event.revision, nowMs);
      return;
    }
    const service = event.kind === 'upsert' ? event.instance.service : event.service;
    this.#named?.add(service);
    this.#reader.touch(service);
    this.#options.target.apply(event, nowMs);
  }

  #synced(revision: string | undefined, nowMs: number): void {
    this.#revision = revision ?? this.#revision;
    this.#checkLeader();
    const named = this.#named;
    if (!named) return;
    this.#named = undefined;
    this.#syncedAtMs = nowMs;
    // Before anything is called absent: what is held back because of it must know that the registry is in contact.
    this.#become('synced');
    for (const service of [...this.#options.target.known()]) {
      if (named.has(service)) continue;
      this.#reader.touch(service);
      this.#options.target.apply({ kind: 'absent', service }, nowMs);
    }
    this.#options.listener.synced?.({ afterMs: nowMs - this.#attemptStartMs, revision });
  }

  #checkLeader(): void {
    const { leader } = this.#options.backend.info();
    if (leader === undefined || leader === this.#leader) return;
    const previous = this.#leader;
    this.#leader = leader;
    if (previous === undefined) return;
    this.#leaderChanges += 1;
    this.#options.listener.leaderChanged?.(leader, previous);
  }

  #become(state: FollowState): void {
    const previous = this.#state;
    if (state === previous) return;
    this.#state = state;
    this.#cancelFailed?.();
    this.#cancelFailed =
      state === 'stale' ? this.#clock.after(this.#timings.failedAfterMs, () => this.#become('failed')) : undefined;
    this.#options.listener.state?.(state, previous);
  }

  async #relistForever(): Promise<void> {
    const { signal } = this.#stopped;
    const { relistMs } = this.#timings;
    while (relistMs > 0 && !signal.aborted) {
      await sleep(this.#clock, relistMs * (0.8 + 0.4 * this.#options.random()), signal);
      if (this.#state !== 'synced') continue;
      try {
        await this.#relist(signal);
      } catch (error) {
        if (this.#isStopped()) return;
        this.#options.listener.listFailed?.(error instanceof Error ? error : new Error(String(error)));
      }
    }
  }

  async #relist(signal: AbortSignal): Promise<void> {
    const { target, listener } = this.#options;
    const differences = await this.#reader.differences(target, this.#timings.driftMs, signal);
    this.#contactMs = this.#clock.now();
    if (differences.size === 0 || this.#isStopped() || this.#state !== 'synced') return;
    this.#drift += differences.size;
    for (const event of differences.values()) target.apply(event, this.#clock.now());
    listener.drift?.([...differences.keys()]);
    this.#attempt?.cut('drift', `the watch had missed changes of ${differences.size} services`);
  }

  /** For after an await, where the compiler still believes what it saw before. */
  #isStopped(): boolean {
    return this.#stopped.signal.aborted;
  }
}

/** One line of bounded length, causes included. */
function describe(error: Error): string {
  const parts: string[] = [];
  for (let each: unknown = error; each instanceof Error && parts.length < 4; each = each.cause) {
    const { message, code } = each as NodeJS.ErrnoException;
    // What has the system's word for it already needs no cause that says it again.
    const said = parts.some((part) => part.includes(message) || (code !== undefined && part.includes(`(${code})`)));
    if (message !== '' && !said) parts.push(message);
  }
  const text = (parts.length > 0 ? parts.join(': ') : error.name).replaceAll(/[\p{Cc}\s]+/gu, ' ');
  return text.length > 500 ? `${text.slice(0, 499)}…` : text;
}
