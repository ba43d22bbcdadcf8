import type { Clock } from '../core/clock.ts';
import type { Instance } from '../core/instance.ts';
import type { ServiceTable, Slot } from './slot.ts';
import type { Departure, SourceTable } from './table.ts';

export interface GuardOptions {
  readonly enabled: boolean;
  /** 0.5 = what makes a service, or the whole registry, more than 50 % smaller is held. 1 = only what empties it. */
  readonly maxLoss: number;
  /** A second read after this long confirms the loss. Short believes a blip sooner; long keeps the dead longer. */
  readonly confirmAfterMs: number;
  /** After this long the loss is believed, provided the registry is in contact. */
  readonly deadlineMs: number;
  /** Losses within this time count together. */
  readonly windowMs: number;
  /** Fewer deregistrations than this within the window are believed, even the last one of a service. */
  readonly minBurst: number;
}

export const GUARD_DEFAULTS: GuardOptions = {
  enabled: true,
  maxLoss: 0.5,
  confirmAfterMs: 1000,
  deadlineMs: 30_000,
  windowMs: 5000,
  minBurst: 5,
};

/** What the guard asks of its surroundings. */
export interface GuardHost {
  /**
   * A second authoritative read of these services, applied to the table. Resolves with those it has an answer for;
   * rejects when the registry cannot be read. Gives up when the signal aborts.
   */
  confirm(services: ReadonlySet<string>, signal: AbortSignal): Promise<ReadonlySet<string>>;
  /** Whether the registry is heard from just now. Nothing is believed of a registry that is lost. */
  inContact(): boolean;
  /** Whether our own probes let the instance pass. */
  passes(instance: Instance): boolean;
  /** The table has changed, and is to be shown. */
  changed(): void;
  onHold?(notice: HoldNotice): void;
  onRelease?(notice: ReleaseNotice): void;
  /** The second read failed; it is repeated. */
  onConfirmFailed?(error: unknown): void;
}

interface Notice {
  readonly services: number;
  readonly instances: number;
  /** A few names, for the log. */
  readonly examples: readonly string[];
}

export type HoldNotice = Notice;

/**
 * How a hold ended. `restored`: the registry reports the instances again. `confirmed`: the second read agreed, and
 * probes did not object. `believed`: the deadline passed.
 */
export type Release = 'restored' | 'confirmed' | 'believed';
export type ReleaseNotice = Notice & { readonly outcome: Release };

export interface HoldStatus {
  readonly service: string;
  readonly instances: number;
  readonly forMs: number;
  /** The second read agreed that they are gone; they stay because they pass our probes. */
  readonly confirmed: boolean;
}

interface Hold {
  readonly service: ServiceTable;
  readonly sinceMs: number;
  /** When the latest instance joined: a read must be younger than that to say anything about it. */
  joinedMs: number;
  /** Those that the registry deregistered one by one are believed once confirmed, whatever probes say. */
  readonly slots: Map<Slot, 'probes-may-keep' | 'deregistered'>;
  confirmed: boolean;
}

interface LossWindow {
  readonly startMs: number;
  peak: number;
}

/** Notices of one instant are told together: an emptied registry is one event, not ten thousand. */
const NOTICE_DELAY_MS = 50;
const EXAMPLES = 10;
const SHOWN_HOLDS = 100;

/**
 * Stands between what a registry says and what is believed of it when much disappears at once.
 *
 * A service that suddenly is empty or more than `maxLoss` smaller keeps its instances for the moment; so does every
 * service while the registry as a whole has shrunk that much within `windowMs`. After `confirmAfterMs` a second read is
 * asked for. What it still reports comes back. What it does not report goes at once, unless our own probes pass it: then
 * it goes when they fail, and at `deadlineMs` in any case. While the registry is lost nothing goes. Instances that
 * appear meanwhile are never held up.
 *
 * Deregistrations one by one are meant: below `minBurst` of them within the window they are believed at once, even the
 * last one. More of them count as a burst (leases that expire together look like that), unless the registry knows for
 * certain that somebody took them back: those are no loss at all.
 */
export class RegistryGuard {
  readonly #table: SourceTable;
  readonly #host: GuardHost;
  readonly #clock: Clock;
  readonly #options: GuardOptions;
  readonly #holds = new Map<ServiceTable, Hold>();
  readonly #windows = new Map<ServiceTable, LossWindow>();
  readonly #stopped = new AbortController();
  #registryWindow: LossWindow | undefined;
  #reading = false;
  #readAtMs = 0;
  #failures = 0;
  #cancelRound: (() => void) | undefined;
  #cancelNotice: (() => void) | undefined;
  #news = new Map<Release | 'held', Map<string, number>>();

  constructor(table: SourceTable, host: GuardHost, clock: Clock, options: GuardOptions) {
    this.#table = table;
    this.#host = host;
    this.#clock = clock;
    this.#options = options;
  }

  /** The oldest ones; of an emptied registry there would be thousands. */
  holds(): HoldStatus[] {
    const nowMs = this.#clock.now();
    return [...this.#holds.values()].slice(0, SHOWN_HOLDS).map((hold) => ({
      service: hold.service.name,
      instances: hold.slots.size,
      forMs: nowMs - hold.sinceMs,
      confirmed: hold.confirmed,
    }));
  }

  /** To be called with every departure, before the table is shown: keeps what must not go yet. */
  judge(departure: Departure): void {
    if (!this.#options.enabled || this.#stopped.signal.aborted) return;
    const { service, gone, explicit } = departure;
    if (departure.deliberate) {
      this.#discount(service, gone.length);
      return;
    }
    const nowMs = this.#clock.now();
    const serviceLoss = this.#measure(
      this.#serviceWindow(service, gone.length, nowMs),
      service.reported + service.kept,
    );
    const registryLoss = this.#measure(this.#registryWindowAt(gone.length, nowMs), this.#table.instances);
    const tooMuch = registryLoss.excessive && registryLoss.lost >= this.#options.minBurst;
    if (!tooMuch && !this.#isSuspicious(departure, serviceLoss)) return;

    const hold = this.#hold(service, nowMs);
    for (const { slot } of gone) {
      this.#table.keep(slot);
      hold.slots.set(slot, explicit && !tooMuch ? 'deregistered' : 'probes-may-keep');
    }
    this.#tell('held', service, gone.length);
    this.#schedule();
  }

  /** To be called when the registry reports a held instance again. */
  returned(slot: Slot): void {
    const hold = this.#holds.get(slot.service);
    if (!hold?.slots.delete(slot)) return;
    this.#tell('restored', slot.service, 1);
    this.#closeIfEmpty(hold);
  }

  /**
   * To be called when the registry is lost: what a read confirmed before may have been registered again since, and
   * nobody would have told.
   */
  contactLost(): void {
    for (const hold of this.#holds.values()) hold.confirmed = false;
  }

  /** Ends without releasing: what is held stays as it is. */
  stop(): void {
    this.#stopped.abort();
    this.#cancelRound?.();
    this.#cancelNotice?.();
    this.#announce();
  }

  #isSuspicious({ service, explicit }: Departure, loss: { lost: number; excessive: boolean }): boolean {
    if (explicit) return loss.excessive && loss.lost >= this.#options.minBurst;
    return loss.excessive || service.reported + service.kept === 0 || this.#holds.has(service);
  }

  #measure(window: LossWindow, size: number): { lost: number; excessive: boolean } {
    return { lost: window.peak - size, excessive: size < window.peak * (1 - this.#options.maxLoss) };
  }

  /** The largest size since the losses that belong together began. */
  #serviceWindow(service: ServiceTable, gone: number, nowMs: number): LossWindow {
    const before = service.reported + service.kept + gone;
    const window = this.#extended(this.#windows.get(service), before, nowMs);
    this.#windows.set(service, window);
    this.#schedule();
    return window;
  }

  #registryWindowAt(gone: number, nowMs: number): LossWindow {
    this.#registryWindow = this.#extended(this.#registryWindow, this.#table.instances + gone, nowMs);
    return this.#registryWindow;
  }

  #extended(window: LossWindow | undefined, size: number, nowMs: number): LossWindow {
    if (!window || nowMs - window.startMs > this.#options.windowMs) return { startMs: nowMs, peak: size };
    window.peak = Math.max(window.peak, size);
    return window;
  }

  /** What was taken back is no loss, and must not make one of what else goes at the time. */
  #discount(service: ServiceTable, gone: number): void {
    for (const window of [this.#windows.get(service), this.#registryWindow]) if (window) window.peak -= gone;
  }

  #hold(service: ServiceTable, nowMs: number): Hold {
    let hold = this.#holds.get(service);
    if (!hold) {
      hold = { service, sinceMs: nowMs, joinedMs: nowMs, slots: new Map(), confirmed: false };
      this.#holds.set(service, hold);
    }
    hold.joinedMs = nowMs;
    hold.confirmed = false;
    return hold;
  }

  #schedule(): void {
    if (this.#cancelRound || this.#stopped.signal.aborted) return;
    this.#cancelRound = this.#clock.after(this.#options.confirmAfterMs, () => {
      this.#cancelRound = undefined;
      this.#round();
      if (this.#holds.size > 0 || this.#windows.size > 0) this.#schedule();
    });
  }

  #round(): void {
    const nowMs = this.#clock.now();
    if (this.#host.inContact()) this.#decide(nowMs);
    for (const [service, window] of this.#windows) {
      if (nowMs - window.startMs > this.#options.windowMs) this.#windows.delete(service);
    }
  }

  #decide(nowMs: number): void {
    for (const hold of [...this.#holds.values()]) {
      if (this.#isOverdue(hold, nowMs)) this.#release(hold, 'believed');
      else if (hold.confirmed) this.#release(hold, 'confirmed');
    }
    this.#host.changed();
    this.#confirm(nowMs);
  }

  #isOverdue(hold: Hold, nowMs: number): boolean {
    const { deadlineMs, confirmAfterMs } = this.#options;
    return nowMs - hold.sinceMs >= deadlineMs && nowMs - hold.joinedMs >= confirmAfterMs;
  }

  #confirm(nowMs: number): void {
    if (this.#reading || nowMs < this.#readAtMs) return;
    const ripe = [...this.#holds.values()].filter(
      (hold) => !hold.confirmed && nowMs - hold.joinedMs >= this.#options.confirmAfterMs,
    );
    if (ripe.length === 0) return;
    this.#reading = true;
    this.#host
      .confirm(new Set(ripe.map((hold) => hold.service.name)), this.#stopped.signal)
      .then((answered) => {
        this.#failures = 0;
        this.#readAtMs = 0;
        // What the read itself found missing has been seen missing once only.
        this.#confirmed(ripe.filter((hold) => answered.has(hold.service.name) && hold.joinedMs < nowMs));
      })
      .catch((error: unknown) => {
        if (this.#stopped.signal.aborted) return;
        this.#failures += 1;
        this.#readAtMs = this.#clock.now() + this.#options.confirmAfterMs * 2 ** Math.min(this.#failures, 4);
        this.#host.onConfirmFailed?.(error);
      })
      .finally(() => (this.#reading = false));
  }

  #confirmed(holds: readonly Hold[]): void {
    if (this.#stopped.signal.aborted || !this.#host.inContact()) return;
    for (const hold of holds) {
      hold.confirmed = true;
      this.#release(hold, 'confirmed');
    }
    this.#host.changed();
  }

  /** At the deadline everything goes; once confirmed, what probes do not keep. */
  #release(hold: Hold, outcome: 'confirmed' | 'believed'): void {
    const nowMs = this.#clock.now();
    let released = 0;
    for (const [slot, because] of [...hold.slots]) {
      const mayStay = outcome === 'confirmed' && because === 'probes-may-keep';
      if (mayStay && slot.kept && this.#host.passes(slot.kept)) continue;
      hold.slots.delete(slot);
      if (!slot.kept) continue;
      this.#table.letGo(slot, nowMs);
      released += 1;
    }
    if (released > 0) this.#tell(outcome, hold.service, released);
    this.#closeIfEmpty(hold);
  }

  #closeIfEmpty(hold: Hold): void {
    if (hold.slots.size === 0) this.#holds.delete(hold.service);
  }

  #tell(what: Release | 'held', service: ServiceTable, instances: number): void {
    let services = this.#news.get(what);
    if (!services) this.#news.set(what, (services = new Map<string, number>()));
    services.set(service.name, (services.get(service.name) ?? 0) + instances);
    this.#cancelNotice ??= this.#clock.after(NOTICE_DELAY_MS, () => this.#announce());
  }

  #announce(): void {
    this.#cancelNotice = undefined;
    const news = this.#news;
    this.#news = new Map();
    for (const [what, services] of news) {
      const instances = [...services.values()].reduce((sum, count) => sum + count, 0);
      const notice = { services: services.size, instances, examples: [...services.keys()].slice(0, EXAMPLES) };
      if (what === 'held') this.#host.onHold?.(notice);
      else this.#host.onRelease?.({ ...notice, outcome: what });
    }
  }
}
