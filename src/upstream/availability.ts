import type { BreakerState, HealthState, ProbeState } from '../core/health.ts';
import type { RegisteredState } from '../core/instance.ts';
import type { AvailabilityPolicy } from '../core/policy.ts';

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

export interface Standing extends HealthState {
  /** A probe has succeeded since the gateway has known this instance. */
  readonly passedOnce: boolean;
}

/**
 * What one instance may have, from its independent reasons and the mode of its service. The whole truth table: nothing
 * else decides. Panic is for instances that worked and are doubted, never for those that have yet to work.
 */
export function availability(health: Standing, panic: Panic): Availability {
  if (health.registered === 'down') return none('registered-down');
  if (health.drained) return none('drained');
  if (health.ejected) return none('ejected');
  if (health.breaker === 'open') return none('breaker-open');
  const probed = health.probe === 'passing' || health.probe === 'degraded';
  if (!probed) {
    if (!health.passedOnce) return none('never-passed');
    if (panic !== 'route') return none(health.probe === 'failing' ? 'probe-failing' : 'probe-unknown');
  }
  // A breaker recovers by its trial alone, so that rejecting trials would keep a panic going for ever.
  if (health.breaker === 'half-open') return { traffic: 'trial', why: 'trial' };
  if (panic === 'reject') return none('panic-reject');
  return { traffic: 'full', why: probed ? 'serving' : 'panic' };
}

/** Works, and should have less than its peers: so says its registry, or one of its checks. */
export function isDegraded({ registered, probe }: Pick<Standing, 'registered' | 'probe'>): boolean {
  return registered === 'degraded' || probe === 'degraded';
}

function none(why: Why): Availability {
  return { traffic: 'none', why };
}

const REGISTERED: readonly RegisteredState[] = ['up', 'degraded', 'down'];
const PROBE: readonly ProbeState[] = ['unknown', 'passing', 'degraded', 'failing'];
const BREAKER: readonly BreakerState[] = ['closed', 'open', 'half-open'];

/** A `Standing` in 9 bits, so that a service of 100,000 is judged by table look-ups. */
const CODES = 512;
const EJECTED = 64;
const DRAINED = 128;
const PASSED_ONCE = 256;

export function pack(standing: Standing): number {
  return (
    REGISTERED.indexOf(standing.registered) |
    (PROBE.indexOf(standing.probe) << 2) |
    (BREAKER.indexOf(standing.breaker) << 4) |
    (standing.ejected ? EJECTED : 0) |
    (standing.drained ? DRAINED : 0) |
    (standing.passedOnce ? PASSED_ONCE : 0)
  );
}

/** Codes that `pack` never makes read as out of service. */
export function unpack(code: number): Standing {
  return {
    registered: REGISTERED[code & 3] ?? 'down',
    probe: PROBE[(code >> 2) & 3] ?? 'unknown',
    breaker: BREAKER[(code >> 4) & 3] ?? 'open',
    ejected: (code & EJECTED) !== 0,
    drained: (code & DRAINED) !== 0,
    passedOnce: (code & PASSED_ONCE) !== 0,
  };
}

/** What a service counts of its instances. `FACTS` has one bit of each code for each, in this order. */
export const COUNTED = [
  /** May have full traffic without panic. */
  'available',
  /** Part of the whole of which panic asks how much is available: see `panicOf`. */
  'accountable',
  /** Held back by probes alone: panic would let it in. */
  'readmittable',
  /** Out by breaker or ejection. */
  'out',
  /** Would have full traffic without panic, were it not out. */
  'broken',
  /** Would have full traffic in panic, were it not out. */
  'brokenInPanic',
  /** Has less weight for it. */
  'degraded',
] as const;
export type Counted = (typeof COUNTED)[number];

function isCounted(standing: Standing, what: Counted): boolean {
  const has = (who: Standing, panic: Panic): boolean => availability(who, panic).traffic === 'full';
  const out = standing.breaker !== 'closed' || standing.ejected;
  const mended: Standing = { ...standing, breaker: 'closed', ejected: false };
  switch (what) {
    case 'available':
      return has(standing, 'off');
    case 'accountable':
      return standing.registered !== 'down' && !standing.drained && standing.passedOnce;
    case 'readmittable':
      return has(standing, 'route') && !has(standing, 'off');
    case 'out':
      return out;
    case 'broken':
      return out && has(mended, 'off');
    case 'brokenInPanic':
      return out && has(mended, 'route');
    case 'degraded':
      return isDegraded(standing);
  }
}

/** For each code, bit i = it is counted as `COUNTED[i]`. */
export const FACTS = tabulate((standing) =>
  COUNTED.reduce((bits, what, at) => bits | (isCounted(standing, what) ? 1 << at : 0), 0),
);

const TRAFFIC_KINDS: readonly Traffic[] = ['none', 'full', 'trial'];
export const FULL = 1;
export const TRIAL = 2;

/** For each mode and code: 0 = no traffic, `FULL`, `TRIAL`. */
export const TRAFFIC: Readonly<Record<Panic, Uint8Array>> = {
  off: trafficIn('off'),
  route: trafficIn('route'),
  reject: trafficIn('reject'),
};

function trafficIn(panic: Panic): Uint8Array {
  return tabulate((standing) => TRAFFIC_KINDS.indexOf(availability(standing, panic).traffic));
}

function tabulate(valueOf: (standing: Standing) => number): Uint8Array {
  return Uint8Array.from({ length: CODES }, (_, code) => valueOf(unpack(code)));
}

/** Whether both codes mean the same to every view. */
export function sameToViews(one: number, other: number): boolean {
  return (
    FACTS[one] === FACTS[other] &&
    TRAFFIC.off[one] === TRAFFIC.off[other] &&
    TRAFFIC.route[one] === TRAFFIC.route[other] &&
    TRAFFIC.reject[one] === TRAFFIC.reject[other]
  );
}

/**
 * The mode of a service. Panic begins when less than the threshold of the accountable instances are available, and only
 * where probes are what holds some of them back: ignoring verdicts would change nothing else. Accountable are those
 * that worked once and that neither the registry nor an operator has taken out: a scale-out, a deployment that never
 * comes up or a drained half must not look like an outage.
 */
export function panicOf(
  counts: Readonly<Record<'available' | 'accountable' | 'readmittable', number>>,
  policy: AvailabilityPolicy,
): Panic {
  const few = counts.available < policy.panicThreshold * counts.accountable;
  return few && counts.readmittable > 0 ? policy.panicMode : 'off';
}
