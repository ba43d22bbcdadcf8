import { findOutliers, type Outlier, type OutlierKind, OutlierSamples } from '../breaker/outlier.ts';
import type { Clock } from '../core/clock.ts';
import type { OutlierPolicy } from '../core/policy.ts';
import { formatDuration } from '../core/units.ts';
import type { OutlierResult } from '../telemetry/closed-sets.ts';
import type { Member, ServiceDetail } from '../upstream/directory.ts';
import type { Fleet } from '../upstream/fleet.ts';

export interface OutliersOptions {
  readonly clock: Clock;
  readonly fleet: Pick<Fleet, 'figures' | 'services' | 'members' | 'memberBySlot' | 'setEjected' | 'listen'>;
  /** An instance was found to be an outlier at the end of an interval. `fresh`: it was none in the one before. */
  readonly onOutlier: (member: Member, outlier: Outlier, result: OutlierResult, fresh: boolean) => void;
}

/** How often it is looked whose interval, or whose time out of the rotation, is over. */
const TICK_MS = 1000;
/** Of one turn of the event loop. A service is never split: one of 100,000 takes that long by itself. */
const TURN_MS = 2;
/** Services passed over, or instances looked at, between two looks at the clock. */
const STRIDE = 512;

/** Of a service under watch. */
interface Watch {
  dueMs: number;
  /** Of its last look: instances that carry it have been seen then. */
  look: number;
}

interface Ejection {
  /** Times ejected so far, less what good conduct has made up for. */
  times: number;
  /** undefined: it is back, since `endedMs`. */
  untilMs: number | undefined;
  endedMs: number;
}

/**
 * Compares each instance with its peers, interval by interval, and takes out those that do clearly worse. Reads columns
 * of figures and nothing of requests; costs the instances of the services that are due.
 */
export class Outliers {
  readonly #options: OutliersOptions;
  readonly #watched = new Map<ServiceDetail, Watch>();
  readonly #ejections = new Map<Member, Ejection>();
  readonly #samples = new OutlierSamples();
  /** By slot, as of the last look at it. */
  readonly #attempts: Uint32Array;
  readonly #failures: Uint32Array;
  /** The look itself; 0 = none. */
  readonly #looks: Uint32Array;
  /** The look that found it an outlier. */
  readonly #found: Uint32Array;
  #lastLook = 0;
  #cursor: Iterator<ServiceDetail, undefined> | undefined;
  #cancel: () => void;
  readonly #unlisten: () => void;

  constructor(options: OutliersOptions) {
    this.#options = options;
    const { capacity } = options.fleet.figures;
    this.#attempts = new Uint32Array(capacity);
    this.#failures = new Uint32Array(capacity);
    this.#looks = new Uint32Array(capacity);
    this.#found = new Uint32Array(capacity);
    this.#unlisten = options.fleet.listen({
      serviceDropped: (service) => this.#watched.delete(service),
      removed: (member) => this.#ejections.delete(member),
      freed: ({ slot }) => {
        this.#looks[slot] = 0;
        this.#found[slot] = 0;
      },
    });
    this.#cancel = this.#later(TICK_MS);
  }

  close(): void {
    this.#cancel();
    this.#unlisten();
  }

  #later(delayMs: number): () => void {
    return this.#options.clock.after(delayMs, () => {
      this.#cancel = this.#later(this.#turn() ? TICK_MS : 0);
    });
  }

  /** False where services are left for the next turn. */
  #turn(): boolean {
    const { clock, fleet } = this.#options;
    const nowMs = clock.now();
    if (!this.#cursor) this.#letIn(nowMs);
    // A live iterator: services may come and go between two turns.
    this.#cursor ??= fleet.services.values();
    for (let cost = 0; ;) {
      const { value: service } = this.#cursor.next();
      if (!service) {
        this.#cursor = undefined;
        return true;
      }
      cost += 1 + (this.#isDue(service, nowMs) ? this.#look(service, nowMs) : 0);
      if (cost < STRIDE) continue;
      if (clock.now() - nowMs > TURN_MS) return false;
      cost = 0;
    }
  }

  #isDue(service: ServiceDetail, nowMs: number): boolean {
    const { successRate, latency, intervalMs } = service.policy.outliers;
    if (successRate === 'off' && latency === 'off') {
      this.#watched.delete(service);
      return false;
    }
    const watch = this.#watched.get(service);
    if (watch) return nowMs >= watch.dueMs;
    // Spread over the interval, so that 10,000 services do not all come at once.
    const dueMs = nowMs + intervalMs * ((service.index * 0.618) % 1);
    this.#watched.set(service, { dueMs, look: 0 });
    return false;
  }

  /** Returns the number of instances looked at. */
  #look(service: ServiceDetail, nowMs: number): number {
    const { policy, view } = service;
    const watch = this.#watched.get(service) as Watch;
    const before = watch.look;
    watch.dueMs = nowMs + policy.outliers.intervalMs;
    watch.look = ++this.#lastLook;
    if (view.slots.length < policy.outliers.minInstances) return 0;
    this.#sample(view.slots, before, watch.look, policy.outliers.minRequests);
    // Where so much is wrong already, comparison tells nothing, and taking out more would not help.
    const outliers = view.panic ? [] : findOutliers(this.#samples, policy.outliers);
    for (const outlier of outliers) this.#act(outlier, policy.outliers, before, watch.look, nowMs);
    return view.slots.length;
  }

  /** Only those who were there at the look before as well have an interval behind them. */
  #sample(slots: Int32Array, before: number, look: number, minRequests: number): void {
    const { attempts, failures, latencyMs } = this.#options.fleet.figures;
    this.#samples.clear();
    for (let at = 0; at < slots.length; at++) {
      const slot = slots[at] as number;
      const attemptsNow = attempts[slot] as number;
      const failuresNow = failures[slot] as number;
      if (this.#looks[slot] === before && before !== 0) {
        // Counters are modulo 2^32.
        const made = (attemptsNow - (this.#attempts[slot] as number)) >>> 0;
        const failed = (failuresNow - (this.#failures[slot] as number)) >>> 0;
        if (made >= minRequests) this.#samples.add(slot, made, failed, latencyMs[slot] as number);
      }
      this.#attempts[slot] = attemptsNow;
      this.#failures[slot] = failuresNow;
      this.#looks[slot] = look;
    }
  }

  #act(outlier: Outlier, policy: OutlierPolicy, before: number, look: number, nowMs: number): void {
    const { fleet, onOutlier } = this.#options;
    const { slot, by, text } = outlier;
    const member = fleet.memberBySlot(slot);
    if (!member || member.leaving) return;
    const fresh = this.#found[slot] !== before || before === 0;
    this.#found[slot] = look;
    const mode = modeOf(by, policy);
    if (mode !== 'eject') {
      onOutlier(member, outlier, 'observe', fresh);
      return;
    }
    const times = 1 + this.#timesOf(member, policy, nowMs);
    const forMs = Math.min(times * policy.ejectionMs, policy.maxEjectionMs);
    const cause = `outlier by ${by}, for ${formatDuration(forMs)}: ${text}`;
    const ejected = fleet.setEjected(member, true, cause, forMs);
    if (ejected) this.#ejections.set(member, { times, untilMs: nowMs + forMs, endedMs: 0 });
    onOutlier(member, outlier, ejected ? 'eject' : 'capped', fresh);
  }

  /** Every ejection time spent in the rotation since makes up for one ejection. */
  #timesOf(member: Member, { ejectionMs }: OutlierPolicy, nowMs: number): number {
    const past = this.#ejections.get(member);
    return past ? Math.max(0, past.times - Math.floor((nowMs - past.endedMs) / ejectionMs)) : 0;
  }

  #letIn(nowMs: number): void {
    for (const [member, ejection] of this.#ejections) {
      if (ejection.untilMs === undefined) {
        if (this.#timesOf(member, member.service.policy.outliers, nowMs) === 0) this.#ejections.delete(member);
      } else if (nowMs >= ejection.untilMs) {
        ejection.untilMs = undefined;
        ejection.endedMs = nowMs;
        this.#options.fleet.setEjected(member, false, 'its time out as an outlier is over');
      }
    }
  }
}

function modeOf(by: OutlierKind, policy: OutlierPolicy): OutlierPolicy['latency'] {
  return by === 'latency' ? policy.latency : policy.successRate;
}
