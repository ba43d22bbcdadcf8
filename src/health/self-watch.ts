import { Alarm, type TimingWheel, type WheelEntry } from '../core/wheel.ts';

export type FreezeReason = 'event-loop-lag' | 'out-of-resources';

/** `frozen: true` comes once per freeze and reason. */
export type FreezeEvent =
  | { readonly frozen: true; readonly reason: FreezeReason; readonly detail: string }
  | { readonly frozen: false; readonly forMs: number; readonly discarded: number };

export interface SelfWatchOptions {
  readonly wheel: TimingWheel;
  /** Lag of the event loop from which on negative results are not believed. */
  readonly maxLagMs: number;
  /** Whether anything is under way whose result a stall could falsify. */
  readonly isBusy: () => boolean;
  /** A freeze is over after so long without new trouble. */
  readonly quietMs: number;
  readonly onFreeze: (event: FreezeEvent) => void;
}

const HOSTS_FOR_FREEZE = 3;
/** While probes are under way, the wheel wakes at least this often, or a stall between two deadlines would go unseen. */
const BEAT_MS = 50;

/**
 * Doubts the prober before it doubts the instances. While the event loop stalls, answers lie unread and deadlines pass;
 * while descriptors or memory are short, nothing can be asked. Envoy's engine ejected healthy hosts that way. So a
 * negative result counts only if its run began after the trouble had ended; what was discarded is asked again.
 */
export class SelfWatch {
  readonly #wheel: TimingWheel;
  readonly #maxLagMs: number;
  readonly #quietMs: number;
  readonly #onFreeze: (event: FreezeEvent) => void;
  readonly #thaw: WheelEntry;
  readonly #beat: WheelEntry;
  #distrustUntilMs = Number.NEGATIVE_INFINITY;
  #frozenSinceMs: number | undefined;
  /** Told already, of the current freeze. */
  readonly #reasons = new Set<FreezeReason>();
  #discarded = 0;
  #discardedEver = 0;
  #freezes = 0;
  /** Hosts to which nothing could be sent, lately. Never more than `HOSTS_FOR_FREEZE`. */
  readonly #cutOff = new Set<string>();
  #cutOffSinceMs = Number.NEGATIVE_INFINITY;

  constructor(options: SelfWatchOptions) {
    this.#wheel = options.wheel;
    this.#maxLagMs = options.maxLagMs;
    this.#quietMs = options.quietMs;
    this.#onFreeze = options.onFreeze;
    this.#thaw = new Alarm((nowMs) => this.#end(nowMs));
    this.#beat = new Alarm((nowMs) => {
      if (options.isBusy()) this.#wheel.schedule(this.#beat, nowMs + BEAT_MS);
    });
  }

  get frozen(): boolean {
    return this.#frozenSinceMs !== undefined;
  }

  /** Freezes begun, ever. */
  get freezes(): number {
    return this.#freezes;
  }

  /** Results that did not count, ever. */
  get discarded(): number {
    return this.#discardedEver;
  }

  /** Something is under way from now on. */
  begun(nowMs: number): void {
    if (!this.#beat.scheduled) this.#wheel.schedule(this.#beat, nowMs + BEAT_MS);
  }

  /** Called at every wake-up of the wheel, before deadlines are judged. */
  woke(lateMs: number, nowMs: number): void {
    if (lateMs <= this.#maxLagMs) return;
    this.#distrustUntilMs = Math.max(this.#distrustUntilMs, nowMs);
    this.#begin('event-loop-lag', `the event loop was blocked for ${Math.round(lateMs)} ms`, nowMs);
  }

  /** The gateway ran out of something it needs to ask anybody. */
  ranOut(detail: string, nowMs: number): void {
    this.#distrustUntilMs = Math.max(this.#distrustUntilMs, nowMs + this.#quietMs);
    this.#begin('out-of-resources', detail, nowMs);
  }

  /** Nothing can be sent to this host, for lack of a local port or address. Several such hosts are our own trouble. */
  cutOff(host: string, detail: string, nowMs: number): void {
    if (nowMs - this.#cutOffSinceMs > this.#quietMs) {
      this.#cutOff.clear();
      this.#cutOffSinceMs = nowMs;
    }
    this.#cutOff.add(host);
    if (this.#cutOff.size < HOSTS_FOR_FREEZE) return;
    this.#cutOff.clear();
    this.ranOut(detail, nowMs);
  }

  /** Whether a negative result of a run begun at `startedMs` says something about the instance. Counts those that do not. */
  believes(startedMs: number): boolean {
    if (startedMs >= this.#distrustUntilMs) return true;
    this.discard();
    return false;
  }

  /** Counts a result that says nothing about the instance. */
  discard(): void {
    this.#discarded++;
    this.#discardedEver++;
  }

  #begin(reason: FreezeReason, detail: string, nowMs: number): void {
    this.#wheel.schedule(this.#thaw, Math.max(nowMs, this.#distrustUntilMs) + this.#quietMs);
    if (this.#frozenSinceMs === undefined) {
      this.#frozenSinceMs = nowMs;
      this.#discarded = 0;
      this.#freezes++;
      this.#reasons.clear();
    } else if (this.#reasons.has(reason)) return;
    this.#reasons.add(reason);
    this.#onFreeze({ frozen: true, reason, detail });
  }

  #end(nowMs: number): void {
    const forMs = nowMs - (this.#frozenSinceMs ?? nowMs);
    this.#frozenSinceMs = undefined;
    this.#onFreeze({ frozen: false, forMs, discarded: this.#discarded });
  }
}
