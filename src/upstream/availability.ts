import type { BreakerState, HealthState, ProbeState } from '../core/health.ts';
import type { RegisteredState } from '../core/instance.ts';

/** The gates an instance must pass, in the order in which `explain` names them. */
export const GATES = ['registered', 'drain', 'ejection', 'breaker', 'probe'] as const;
export type Gate = (typeof GATES)[number];

/** `full`: any request. `trial`: the one request a half-open breaker lets through. */
export type Traffic = 'full' | 'trial' | 'none';

/** The first gate that held the instance back, or what lets it through. */
export type Why =
  | 'serving'
  /** Its breaker is half-open. */
  | 'trial'
  /** The probes say no, and panic overrules them. */
  | 'panic'
  | 'registered-down'
  | 'drained'
  | 'ejected'
  | 'breaker-open'
  /** No probe has succeeded since the instance became known: not even panic sends it traffic. */
  | 'never-passed'
  | 'probe-failing'
  /** Its checks have changed and have not answered since. */
  | 'probe-unknown'
  /** It could serve, but too few can, and the policy is to answer 503 then. */
  | 'panic-reject';

/** `route`: probe verdicts are ignored. `reject`: nobody gets anything but trials. */
export type Panic = 'off' | 'route' | 'reject';

export interface Availability {
  readonly traffic: Traffic;
  readonly why: Why;
}

/**
 * What one instance may have, from its independent reasons and the mode of its service. The whole truth table: nothing
 * else decides. `passedOnce`: a probe has succeeded since the gateway has known this instance; panic is for instances
 * that worked and are doubted, never for those that have yet to work.
 */
export function availability(health: HealthState, passedOnce: boolean, panic: Panic): Availability {
  if (health.registered === 'down') return none('registered-down');
  if (health.drained) return none('drained');
  if (health.ejected) return none('ejected');
  if (health.breaker === 'open') return none('breaker-open');
  const probed = health.probe === 'passing' || health.probe === 'degraded';
  if (!probed) {
    if (!passedOnce) return none('never-passed');
    if (panic !== 'route') return none(health.probe === 'failing' ? 'probe-failing' : 'probe-unknown');
  }
  // A breaker recovers by its trial alone, so that rejecting trials would keep a panic going for ever.
  if (health.breaker === 'half-open') return { traffic: 'trial', why: 'trial' };
  if (panic === 'reject') return none('panic-reject');
  return { traffic: 'full', why: probed ? 'serving' : 'panic' };
}

function none(why: Why): Availability {
  return { traffic: 'none', why };
}

const REGISTERED: readonly RegisteredState[] = ['up', 'degraded', 'down'];
const PROBE: readonly ProbeState[] = ['unknown', 'passing', 'degraded', 'failing'];
const BREAKER: readonly BreakerState[] = ['closed', 'open', 'half-open'];

/** Everything `availability` asks of one instance, in 9 bits: a service of 100,000 is judged by table look-ups. */
export const CODES = 512;
const EJECTED = 64;
const DRAINED = 128;
const PASSED_ONCE = 256;

export function pack(health: HealthState, passedOnce: boolean): number {
  return (
    REGISTERED.indexOf(health.registered) |
    (PROBE.indexOf(health.probe) << 2) |
    (BREAKER.indexOf(health.breaker) << 4) |
    (health.ejected ? EJECTED : 0) |
    (health.drained ? DRAINED : 0) |
    (passedOnce ? PASSED_ONCE : 0)
  );
}

export function unpack(code: number): HealthState & { readonly passedOnce: boolean } {
  return {
    registered: REGISTERED[code & 3] ?? 'down',
    probe: PROBE[(code >> 2) & 3] ?? 'unknown',
    breaker: BREAKER[(code >> 4) & 3] ?? 'open',
    ejected: (code & EJECTED) !== 0,
    drained: (code & DRAINED) !== 0,
    passedOnce: (code & PASSED_ONCE) !== 0,
  };
}

/** Bits of `FACTS`: what a service counts of its instances, mode of panic aside. */
export const FACT = {
  /** May have full traffic without panic. */
  available: 1,
  /** Part of the whole of which panic asks how much is available: see `panicOf`. */
  countsForPanic: 2,
  /** Held back by probes alone: panic would let it in. */
  readmittable: 4,
  /** Out by breaker or ejection. */
  out: 8,
  /** Would have full traffic without panic, were it not out. */
  broken: 16,
  /** Would have full traffic in panic, were it not out. */
  brokenInPanic: 32,
} as const;

/** For each code, its `FACT` bits. */
export const FACTS: Uint8Array = tabulate((code) => {
  const { passedOnce, ...health } = unpack(code);
  const mended: HealthState = { ...health, breaker: 'closed', ejected: false };
  const out = health.breaker !== 'closed' || health.ejected;
  const available = availability(health, passedOnce, 'off').traffic === 'full';
  const bit = (held: boolean, fact: number): number => (held ? fact : 0);
  return (
    bit(available, FACT.available) |
    bit(health.registered !== 'down' && !health.drained && passedOnce, FACT.countsForPanic) |
    bit(!available && availability(health, passedOnce, 'route').traffic === 'full', FACT.readmittable) |
    bit(out, FACT.out) |
    bit(out && availability(mended, passedOnce, 'off').traffic === 'full', FACT.broken) |
    bit(out && availability(mended, passedOnce, 'route').traffic === 'full', FACT.brokenInPanic)
  );
});

export const NO_TRAFFIC = 0;
export const FULL_TRAFFIC = 1;
export const TRIAL_ONLY = 2;

/** For each mode and code: `NO_TRAFFIC`, `FULL_TRAFFIC` or `TRIAL_ONLY`. */
export const TRAFFIC: Readonly<Record<Panic, Uint8Array>> = {
  off: trafficTable('off'),
  route: trafficTable('route'),
  reject: trafficTable('reject'),
};

function trafficTable(panic: Panic): Uint8Array {
  return tabulate((code) => {
    const { passedOnce, ...health } = unpack(code);
    const { traffic } = availability(health, passedOnce, panic);
    return traffic === 'full' ? FULL_TRAFFIC : traffic === 'trial' ? TRIAL_ONLY : NO_TRAFFIC;
  });
}

function tabulate(valueOf: (code: number) => number): Uint8Array {
  return Uint8Array.from({ length: CODES }, (_, code) => valueOf(code));
}
