import { describe, expect, it } from 'vitest';
import type { BreakerState, ProbeState } from '../../src/core/health.ts';
import type { RegisteredState } from '../../src/core/instance.ts';
import type { AvailabilityMode, AvailabilityPolicy } from '../../src/core/policy.ts';
import {
  availability,
  COUNTED,
  FACTS,
  FULL,
  isDegraded,
  pack,
  type Panic,
  panicOf,
  type Regime,
  regimeOf,
  sameToViews,
  type Standing,
  trafficIn,
  TRIAL,
  unpack,
} from '../../src/upstream/availability.ts';

const REGISTERED: readonly RegisteredState[] = ['up', 'degraded', 'down'];
const PROBE: readonly ProbeState[] = ['unknown', 'passing', 'degraded', 'failing'];
const BREAKER: readonly BreakerState[] = ['closed', 'open', 'half-open'];
const MODES: readonly AvailabilityMode[] = ['strict', 'trust-registry', 'trust-probes'];
const PANIC: readonly Panic[] = ['off', 'route', 'reject'];
const BOOLEAN = [false, true];

const ALL: Standing[] = REGISTERED.flatMap((registered) =>
  PROBE.flatMap((probe) =>
    BREAKER.flatMap((breaker) =>
      BOOLEAN.flatMap((ejected) =>
        BOOLEAN.flatMap((drained) =>
          BOOLEAN.flatMap((passedOnce) =>
            BOOLEAN.map((fallback) => ({ registered, probe, breaker, ejected, drained, passedOnce, fallback })),
          ),
        ),
      ),
    ),
  ),
);

const REGIMES: Regime[] = MODES.flatMap((mode) =>
  PANIC.flatMap((panic) => BOOLEAN.map((fallback) => ({ mode, panic, fallback }))),
);

const UP: Standing = {
  registered: 'up',
  probe: 'passing',
  breaker: 'closed',
  ejected: false,
  drained: false,
  passedOnce: true,
  fallback: false,
};
const STRICT: Regime = { mode: 'strict', panic: 'off', fallback: false };

/** The rules once more, as sets of conditions in place of an order of gates. */
function expected(who: Standing, { mode, panic, fallback }: Regime): 'full' | 'trial' | 'none' {
  const probesSayYes = ['passing', 'degraded'].includes(who.probe);
  const registrySaysNo = who.registered === 'down' && !(mode === 'trust-probes' && probesSayYes);
  const excluded = registrySaysNo || who.drained || who.ejected || who.breaker === 'open';
  const overruled = mode === 'trust-registry' || (panic === 'route' && who.passedOnce && !who.fallback);
  if (excluded || !(probesSayYes || overruled) || (who.fallback && !fallback)) return 'none';
  if (who.breaker === 'half-open') return 'trial';
  return panic === 'reject' && !who.fallback ? 'none' : 'full';
}

describe('availability', () => {
  it('is what the rules say in all 10,368 cases', () => {
    let cases = 0;
    for (const who of ALL) {
      for (const regime of REGIMES) {
        expect([who, regime, availability(who, regime).traffic]).toEqual([who, regime, expected(who, regime)]);
        cases++;
      }
    }
    expect(cases).toBe(10_368);
  });

  it('never lets in who is drained, ejected or behind an open breaker, whatever mode and regime', () => {
    for (const who of ALL.filter(({ drained, ejected, breaker }) => drained || ejected || breaker === 'open')) {
      for (const regime of REGIMES) expect(availability(who, regime).traffic).toBe('none');
    }
  });

  it.each<[Partial<Standing>, Panic, string, string]>([
    [{}, 'off', 'full', 'serving'],
    [{ registered: 'degraded' }, 'off', 'full', 'serving'],
    [{ probe: 'degraded' }, 'off', 'full', 'serving'],
    [{ registered: 'down', drained: true, probe: 'failing' }, 'route', 'none', 'registered-down'],
    [{ drained: true, ejected: true }, 'route', 'none', 'drained'],
    [{ ejected: true, breaker: 'open' }, 'route', 'none', 'ejected'],
    [{ breaker: 'open', probe: 'failing' }, 'route', 'none', 'breaker-open'],
    [{ breaker: 'half-open' }, 'off', 'trial', 'trial'],
    [{ breaker: 'half-open' }, 'reject', 'trial', 'trial'],
    [{ breaker: 'half-open', probe: 'failing' }, 'off', 'none', 'probe-failing'],
    [{ probe: 'failing' }, 'off', 'none', 'probe-failing'],
    [{ probe: 'failing' }, 'route', 'full', 'panic'],
    [{ probe: 'failing' }, 'reject', 'none', 'probe-failing'],
    [{ probe: 'unknown' }, 'off', 'none', 'probe-unknown'],
    [{ probe: 'unknown' }, 'route', 'full', 'panic'],
    [{ probe: 'unknown', passedOnce: false }, 'route', 'none', 'never-passed'],
    [{ probe: 'failing', passedOnce: false }, 'route', 'none', 'never-passed'],
    [{}, 'reject', 'none', 'panic-reject'],
    [{}, 'route', 'full', 'serving'],
    [{ fallback: true }, 'off', 'none', 'in-reserve'],
    [{ fallback: true, breaker: 'half-open' }, 'off', 'none', 'in-reserve'],
    [{ fallback: true, probe: 'failing' }, 'route', 'none', 'probe-failing'],
  ])('names the first gate that decided: %j in mode %s', (part, panic, traffic, why) => {
    expect(availability({ ...UP, ...part }, { ...STRICT, panic })).toEqual({ traffic, why });
  });

  it.each<[AvailabilityMode, Partial<Standing>, string, string]>([
    ['trust-registry', { probe: 'failing' }, 'full', 'serving'],
    ['trust-registry', { probe: 'unknown', passedOnce: false }, 'full', 'serving'],
    ['trust-registry', { registered: 'down' }, 'none', 'registered-down'],
    ['trust-registry', { probe: 'failing', breaker: 'half-open' }, 'trial', 'trial'],
    ['trust-probes', { registered: 'down' }, 'full', 'serving'],
    ['trust-probes', { registered: 'down', probe: 'degraded' }, 'full', 'serving'],
    ['trust-probes', { registered: 'down', probe: 'failing' }, 'none', 'registered-down'],
    ['trust-probes', { probe: 'failing' }, 'none', 'probe-failing'],
  ])('in mode %s with %j lets through %s', (mode, part, traffic, why) => {
    expect(availability({ ...UP, ...part }, { ...STRICT, mode })).toEqual({ traffic, why });
  });

  it.each<[Partial<Standing>, Panic, string, string]>([
    [{}, 'off', 'full', 'fallback'],
    [{}, 'reject', 'full', 'fallback'],
    [{ breaker: 'half-open' }, 'off', 'trial', 'trial'],
    [{ probe: 'failing' }, 'off', 'none', 'probe-failing'],
    [{ drained: true }, 'off', 'none', 'drained'],
  ])('uses a fallback instance that is needed as its gates say: %j in panic %s', (part, panic, traffic, why) => {
    const regime: Regime = { ...STRICT, panic, fallback: true };
    expect(availability({ ...UP, fallback: true, ...part }, regime)).toEqual({ traffic, why });
  });

  it.each<[AvailabilityMode, RegisteredState, ProbeState, boolean]>([
    ['strict', 'degraded', 'passing', true],
    ['strict', 'up', 'degraded', true],
    ['trust-registry', 'up', 'degraded', false],
    ['trust-registry', 'degraded', 'passing', true],
    ['trust-probes', 'degraded', 'passing', false],
    ['trust-probes', 'up', 'degraded', true],
    ['trust-probes', 'degraded', 'failing', true],
  ])('in mode %s, %s with probes %s is degraded: %s', (mode, registered, probe, degraded) => {
    expect(isDegraded({ registered, probe }, mode)).toBe(degraded);
  });
});

describe('the tables', () => {
  it('give every standing a code of its own, and give it back', () => {
    expect(new Set(ALL.map(pack)).size).toBe(ALL.length);
    for (const who of ALL) expect(unpack(pack(who))).toEqual(who);
  });

  it('agree with the function they are made from', () => {
    for (const regime of REGIMES) {
      const table = trafficIn(regime);
      for (const who of ALL) {
        const kind = { full: FULL, trial: TRIAL, none: 0 }[availability(who, regime).traffic];
        if (table[pack(who)] !== kind) expect([who, regime, table[pack(who)]]).toEqual([who, regime, kind]);
      }
    }
  });

  it('count each standing for what it is', () => {
    for (const mode of MODES) {
      for (const who of ALL) {
        const counted = COUNTED.filter((_, at) => ((FACTS[mode][pack(who)] ?? 0) >> at) & 1);
        const mended: Standing = { ...who, breaker: 'closed', ejected: false };
        const out = who.breaker !== 'closed' || who.ejected;
        const full = (one: Standing, panic: Panic, fallback = false): boolean =>
          expected(one, { mode, panic, fallback }) === 'full';
        const probed = ['passing', 'degraded'].includes(who.probe);
        const wanted = who.registered !== 'down' || (mode === 'trust-probes' && probed);
        const want: string[] = [];
        if (!who.fallback && full(who, 'off')) want.push('available');
        if (wanted && !who.drained && who.passedOnce && !who.fallback) want.push('accountable');
        const believed = probed || mode === 'trust-registry';
        if (wanted && !who.drained && who.passedOnce && !who.fallback && !believed) want.push('doubted');
        if (out) want.push('out');
        if (out && full(mended, 'off', who.fallback)) want.push('broken');
        if (out && full(mended, 'route', who.fallback)) want.push('brokenInPanic');
        if (isDegraded(who, mode)) want.push('degraded');
        if (who.fallback && full(who, 'off', true)) want.push('spare');
        if (counted.join() !== want.join()) expect([mode, who, counted]).toEqual([mode, who, want]);
      }
    }
  });

  it('hold for the same to a view only what does not differ in traffic, counts or weight', () => {
    const same = (one: Partial<Standing>, other: Partial<Standing>, mode: AvailabilityMode = 'strict'): boolean =>
      sameToViews(mode, pack({ ...UP, ...one }), pack({ ...UP, ...other }));
    expect(same({ drained: true }, { drained: true, probe: 'failing' })).toBe(true);
    expect(same({}, { probe: 'degraded' })).toBe(false);
    expect(same({}, { probe: 'failing' })).toBe(false);
    expect(same({}, { probe: 'failing' }, 'trust-registry')).toBe(true);
    expect(same({}, { registered: 'down' }, 'trust-probes')).toBe(true);
    expect(same({}, { registered: 'down' }, 'trust-registry')).toBe(false);
    // No traffic either way, but the cap counts one of them.
    expect(same({ drained: true }, { drained: true, ejected: true })).toBe(false);
  });
});

const POLICY: AvailabilityPolicy = {
  mode: 'strict',
  panicThreshold: 0.5,
  minHealthy: 0,
  panicMode: 'route',
  maxEjectedShare: 0.5,
  degradedWeight: 0.5,
};

describe('panic', () => {
  it.each([
    ['exactly half available', 5, 10, 5, 'off'],
    ['less than half available', 4, 10, 6, 'route'],
    ['none available', 0, 3, 3, 'route'],
    ['less than half available, but all of the others out by breakers alone', 4, 10, 0, 'off'],
    ['nobody there', 0, 0, 0, 'off'],
  ])('%s', (_name, available, accountable, doubted, mode) => {
    expect(panicOf({ available, accountable, doubted }, POLICY)).toBe(mode);
  });

  it('is never reached with a threshold of 0, and rejects where the policy says so', () => {
    const counts = { available: 0, accountable: 5, doubted: 5 };
    expect(panicOf(counts, { ...POLICY, panicThreshold: 0 })).toBe('off');
    expect(panicOf(counts, { ...POLICY, panicMode: 'reject' })).toBe('reject');
  });

  it.each([
    ['fewer than the minimum, by probes', 2, 10, 1, 'route'],
    ['as many as the minimum', 3, 10, 7, 'off'],
    ['fewer than the minimum, because there are no more', 2, 2, 0, 'off'],
  ])('with a minimum of three: %s', (_name, available, accountable, doubted, mode) => {
    const policy = { ...POLICY, panicThreshold: 0, minHealthy: 3 };
    expect(panicOf({ available, accountable, doubted }, policy)).toBe(mode);
  });
});

describe('the regime of a service', () => {
  it.each<[string, Parameters<typeof regimeOf>[0], Partial<AvailabilityPolicy>, Partial<Regime>]>([
    ['all is well', { available: 3, accountable: 3, doubted: 0, spare: 1 }, {}, {}],
    ['nobody but a fallback', { available: 0, accountable: 0, doubted: 0, spare: 1 }, {}, { fallback: true }],
    [
      'a fallback that works comes before instances in doubt',
      { available: 0, accountable: 3, doubted: 3, spare: 1 },
      {},
      { fallback: true },
    ],
    [
      'instances in doubt come before nobody',
      { available: 0, accountable: 3, doubted: 3, spare: 0 },
      {},
      { panic: 'route' },
    ],
    [
      'few are available, and panic spreads',
      { available: 1, accountable: 4, doubted: 3, spare: 1 },
      {},
      { panic: 'route' },
    ],
    [
      'few are available and must be protected: the fallback has the rest',
      { available: 1, accountable: 4, doubted: 3, spare: 1 },
      { panicMode: 'reject' },
      { panic: 'reject', fallback: true },
    ],
  ])('%s', (_name, counts, part, regime) => {
    expect(regimeOf(counts, { ...POLICY, ...part })).toEqual({ ...STRICT, ...regime });
  });
});
