import type { BreakerState, HealthState, ProbeState } from '../core/health.ts';
import type { RegisteredState } from '../core/instance.ts';
import type { AvailabilityMode, AvailabilityPolicy } from '../core/policy.ts';

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
  /** A fallback instance, and nobody else is available. */
  | 'fallback'
  | 'registered-down'
  | 'drained'
  | 'ejected'
  | 'breaker-open'
  /** No probe has succeeded since the instance became known: not even panic sends it traffic. */
  | 'never-passed'
  | 'probe-failing'
  /** Its checks have changed and have not answered since. */
  | 'probe-unknown'
  /** A fallback instance, and others are available. */
  | 'in-reserve'
  /** It could serve, but too few can, and the policy is to answer 503 then. */
  | 'panic-reject';

/** `route`: probe verdicts are ignored. `reject`: nobody gets anything but trials. */
export type Panic = 'off' | 'route' | 'reject';

/** How a service treats all of its instances now. */
export interface Regime {
  readonly mode: AvailabilityMode;
  readonly panic: Panic;
  /** Its fallback instances are in use. */
  readonly fallback: boolean;
}

export interface Availability {
  readonly traffic: Traffic;
  readonly why: Why;
}

export interface Standing extends HealthState {
  /** A probe has succeeded since the gateway has known this instance. */
  readonly passedOnce: boolean;
  /** No registry has it: it stands in where nobody else is available. */
  readonly fallback: boolean;
}

/**
 * What one instance may have, from its independent reasons and the regime of its service. The whole truth table: nothing
 * else decides. Panic is for instances that worked and are doubted, never for those that have yet to work.
 */
export function availability(health: Standing, { mode, panic, fallback }: Regime): Availability {
  if (!isWanted(health, mode)) return none('registered-down');
  if (health.drained) return none('drained');
  if (health.ejected) return none('ejected');
  if (health.breaker === 'open') return none('breaker-open');
  const vouched = isVouchedFor(health, mode);
  if (!vouched) {
    if (!health.passedOnce) return none('never-passed');
    // Who stands in for others in doubt must not be in doubt.
    if (panic !== 'route' || health.fallback)
      return none(health.probe === 'failing' ? 'probe-failing' : 'probe-unknown');
  }
  if (health.fallback && !fallback) return none('in-reserve');
  // A breaker recovers by its trial alone, so that rejecting trials would keep a panic going for ever.
  if (health.breaker === 'half-open') return { traffic: 'trial', why: 'trial' };
  if (health.fallback) return { traffic: 'full', why: 'fallback' };
  if (panic === 'reject') return none('panic-reject');
  return { traffic: 'full', why: vouched ? 'serving' : 'panic' };
}

function none(why: Why): Availability {
  return { traffic: 'none', why };
}

/** Its registry lets it in, or has no say. */
export function isWanted(health: Pick<Standing, 'registered' | 'probe'>, mode: AvailabilityMode): boolean {
  return health.registered !== 'down' || (mode === 'trust-probes' && passes(health.probe));
}

/** Its probes let it in, or have no say. */
export function isVouchedFor({ probe }: Pick<Standing, 'probe'>, mode: AvailabilityMode): boolean {
  return mode === 'trust-registry' || passes(probe);
}

/** Works, and should have less than its peers: so says its registry, or one of its checks, whoever has a say. */
export function isDegraded(
  { registered, probe }: Pick<Standing, 'registered' | 'probe'>,
  mode: AvailabilityMode,
): boolean {
  if (mode === 'trust-registry') return registered === 'degraded';
  if (mode === 'trust-probes' && probe === 'passing') return false;
  return registered === 'degraded' || probe === 'degraded';
}

/** Has worked, and neither its registry nor an operator has taken it out. */
function isAccountable(standing: Standing, mode: AvailabilityMode): boolean {
  return isWanted(standing, mode) && !standing.drained && standing.passedOnce && !standing.fallback;
}

function passes(probe: ProbeState): boolean {
  return probe === 'passing' || probe === 'degraded';
}

const MODES: readonly AvailabilityMode[] = ['strict', 'trust-registry', 'trust-probes'];
const PANICS: readonly Panic[] = ['off', 'route', 'reject'];
const REGISTERED: readonly RegisteredState[] = ['up', 'degraded', 'down'];
const PROBE: readonly ProbeState[] = ['unknown', 'passing', 'degraded', 'failing'];
const BREAKER: readonly BreakerState[] = ['closed', 'open', 'half-open'];

/** A `Standing` in 10 bits, so that a service of 100,000 is judged by table look-ups. */
const CODES = 1024;
const EJECTED = 64;
const DRAINED = 128;
const PASSED_ONCE = 256;
const FALLBACK = 512;

export function pack(standing: Standing): number {
  return (
    REGISTERED.indexOf(standing.registered) |
    (PROBE.indexOf(standing.probe) << 2) |
    (BREAKER.indexOf(standing.breaker) << 4) |
    (standing.ejected ? EJECTED : 0) |
    (standing.drained ? DRAINED : 0) |
    (standing.passedOnce ? PASSED_ONCE : 0) |
    (standing.fallback ? FALLBACK : 0)
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
    fallback: (code & FALLBACK) !== 0,
  };
}

/** What a service counts of its instances. `FACTS` has one bit of each code for each, in this order. */
export const COUNTED = [
  /** May have full traffic without panic, and is no fallback. */
  'available',
  /** Part of the whole of which panic asks how much is available: see `panicOf`. */
  'accountable',
  /** Accountable, and its probes say no: what panic ignores. */
  'doubted',
  /** Out by breaker or ejection. */
  'out',
  /** Would have full traffic without panic (a fallback: in use), were it not out. */
  'broken',
  /** Would have full traffic in panic, were it not out. */
  'brokenInPanic',
  /** Has less weight for it. */
  'degraded',
  /** A fallback that may have full traffic once it is needed. */
  'spare',
] as const;
export type Counted = (typeof COUNTED)[number];
/** Its bit in `FACTS`. */
export const AVAILABLE = 1 << COUNTED.indexOf('available');

function isCounted(standing: Standing, mode: AvailabilityMode, what: Counted): boolean {
  const has = (who: Standing, panic: Panic, fallback: boolean): boolean =>
    availability(who, { mode, panic, fallback }).traffic === 'full';
  const out = standing.breaker !== 'closed' || standing.ejected;
  const mended: Standing = { ...standing, breaker: 'closed', ejected: false };
  switch (what) {
    case 'available':
      return has(standing, 'off', false);
    case 'accountable':
      return isAccountable(standing, mode);
    case 'doubted':
      return isAccountable(standing, mode) && !isVouchedFor(standing, mode);
    case 'out':
      return out;
    case 'broken':
      return out && has(mended, 'off', standing.fallback);
    case 'brokenInPanic':
      return out && has(mended, 'route', standing.fallback);
    case 'degraded':
      return isDegraded(standing, mode);
    case 'spare':
      return standing.fallback && has(standing, 'off', true);
  }
}

type ByMode<T> = Readonly<Record<AvailabilityMode, T>>;

function byMode<T>(make: (mode: AvailabilityMode) => T): ByMode<T> {
  return { strict: make('strict'), 'trust-registry': make('trust-registry'), 'trust-probes': make('trust-probes') };
}

/** For each mode and code, bit i = it is counted as `COUNTED[i]`. */
export const FACTS: ByMode<Uint8Array> = byMode((mode) =>
  tabulate((standing) => COUNTED.reduce((bits, what, at) => bits | (isCounted(standing, mode, what) ? 1 << at : 0), 0)),
);

const TRAFFIC_KINDS: readonly Traffic[] = ['none', 'full', 'trial'];
export const FULL = 1;
export const TRIAL = 2;

/** Every regime that there is, by mode, panic and fallback. */
const REGIMES: readonly Regime[] = MODES.flatMap((mode) =>
  PANICS.flatMap((panic) => [false, true].map((fallback) => ({ mode, panic, fallback }))),
);

const TRAFFIC: readonly Uint8Array[] = REGIMES.map((regime) =>
  tabulate((standing) => TRAFFIC_KINDS.indexOf(availability(standing, regime).traffic)),
);

/** Equal regimes are one object. */
export function regimeIn(mode: AvailabilityMode, panic: Panic, fallback: boolean): Regime {
  return REGIMES[placeOf({ mode, panic, fallback })] as Regime;
}

/** For each code: 0 = no traffic, `FULL`, `TRIAL`. */
export function trafficIn(regime: Regime): Uint8Array {
  return TRAFFIC[placeOf(regime)] as Uint8Array;
}

function placeOf({ mode, panic, fallback }: Regime): number {
  return (MODES.indexOf(mode) * PANICS.length + PANICS.indexOf(panic)) * 2 + (fallback ? 1 : 0);
}

function tabulate(valueOf: (standing: Standing) => number): Uint8Array {
  return Uint8Array.from({ length: CODES }, (_, code) => valueOf(unpack(code)));
}

/** Whether both codes mean the same to every view of a service of this mode. */
export function sameToViews(mode: AvailabilityMode, one: number, other: number): boolean {
  if (FACTS[mode][one] !== FACTS[mode][other]) return false;
  const first = MODES.indexOf(mode) * PANICS.length * 2;
  for (let at = first; at < first + PANICS.length * 2; at++) {
    const traffic = TRAFFIC[at] as Uint8Array;
    if (traffic[one] !== traffic[other]) return false;
  }
  return true;
}

type Counts = Readonly<Record<'available' | 'accountable' | 'doubted' | 'spare', number>>;

/**
 * Panic begins when less than the threshold of the accountable instances, or fewer than the minimum, are available, and
 * only where probes say no to some of them: ignoring verdicts would change nothing else. Accountable are those that worked
 * once and that neither the registry nor an operator has taken out: a scale-out, a deployment that never comes up or a
 * drained half must not look like an outage. Whether breakers keep the doubted out as well makes no difference: panic
 * must not come and go with their trials.
 */
export function panicOf(counts: Omit<Counts, 'spare'>, policy: AvailabilityPolicy): Panic {
  const { available, accountable, doubted } = counts;
  const few = available < policy.panicThreshold * accountable || available < policy.minHealthy;
  return few && doubted > 0 ? policy.panicMode : 'off';
}

/** The regime that follows from who there is. A fallback that works comes before instances in doubt. */
export function regimeOf(counts: Counts, policy: AvailabilityPolicy): Regime {
  const { mode } = policy;
  if (counts.spare > 0 && counts.available === 0) return regimeIn(mode, 'off', true);
  const panic = panicOf(counts, policy);
  return regimeIn(mode, panic, counts.spare > 0 && panic === 'reject');
}
