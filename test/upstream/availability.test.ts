import { describe, expect, it } from 'vitest';
import type { BreakerState, ProbeState } from '../../src/core/health.ts';
import type { RegisteredState } from '../../src/core/instance.ts';
import {
  availability,
  COUNTED,
  FACTS,
  FULL,
  pack,
  type Panic,
  panicOf,
  sameToViews,
  type Standing,
  TRAFFIC,
  TRIAL,
  unpack,
} from '../../src/upstream/availability.ts';

const REGISTERED: readonly RegisteredState[] = ['up', 'degraded', 'down'];
const PROBE: readonly ProbeState[] = ['unknown', 'passing', 'degraded', 'failing'];
const BREAKER: readonly BreakerState[] = ['closed', 'open', 'half-open'];
const PANIC: readonly Panic[] = ['off', 'route', 'reject'];
const BOOLEAN = [false, true];

const ALL: Standing[] = REGISTERED.flatMap((registered) =>
  PROBE.flatMap((probe) =>
    BREAKER.flatMap((breaker) =>
      BOOLEAN.flatMap((ejected) =>
        BOOLEAN.flatMap((drained) =>
          BOOLEAN.map((passedOnce) => ({ registered, probe, breaker, ejected, drained, passedOnce })),
        ),
      ),
    ),
  ),
);

const UP: Standing = {
  registered: 'up',
  probe: 'passing',
  breaker: 'closed',
  ejected: false,
  drained: false,
  passedOnce: true,
};

/** The rules once more, as sets of conditions in place of an order of gates. */
function expected(who: Standing, panic: Panic): 'full' | 'trial' | 'none' {
  const excluded = who.registered === 'down' || who.drained || who.ejected || who.breaker === 'open';
  const probesSayYes = ['passing', 'degraded'].includes(who.probe);
  const overruled = panic === 'route' && who.passedOnce;
  if (excluded || !(probesSayYes || overruled)) return 'none';
  if (who.breaker === 'half-open') return 'trial';
  return panic === 'reject' ? 'none' : 'full';
}

describe('availability', () => {
  it('is what the rules say in all 864 cases', () => {
    let cases = 0;
    for (const who of ALL) {
      for (const panic of PANIC) {
        expect([who, panic, availability(who, panic).traffic]).toEqual([who, panic, expected(who, panic)]);
        cases++;
      }
    }
    expect(cases).toBe(864);
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
  ])('names the first gate that decided: %j in mode %s', (part, panic, traffic, why) => {
    expect(availability({ ...UP, ...part }, panic)).toEqual({ traffic, why });
  });
});

describe('the tables', () => {
  it('give every standing a code of its own, and give it back', () => {
    expect(new Set(ALL.map(pack)).size).toBe(ALL.length);
    for (const who of ALL) expect(unpack(pack(who))).toEqual(who);
  });

  it('agree with the function they are made from', () => {
    for (const who of ALL) {
      for (const panic of PANIC) {
        const kind = TRAFFIC[panic][pack(who)];
        expect(kind).toBe({ full: FULL, trial: TRIAL, none: 0 }[availability(who, panic).traffic]);
      }
    }
  });

  it('count each standing for what it is', () => {
    for (const who of ALL) {
      const counted = COUNTED.filter((_, at) => ((FACTS[pack(who)] ?? 0) >> at) & 1);
      const mended: Standing = { ...who, breaker: 'closed', ejected: false };
      const out = who.breaker !== 'closed' || who.ejected;
      const want: string[] = [];
      if (expected(who, 'off') === 'full') want.push('available');
      if (who.registered !== 'down' && !who.drained && who.passedOnce) want.push('accountable');
      if (expected(who, 'off') === 'none' && expected(who, 'route') === 'full') want.push('readmittable');
      if (out) want.push('out');
      if (out && expected(mended, 'off') === 'full') want.push('broken');
      if (out && expected(mended, 'route') === 'full') want.push('brokenInPanic');
      if (who.registered === 'degraded' || who.probe === 'degraded') want.push('degraded');
      expect(counted).toEqual(want);
    }
  });

  it('hold for the same to a view only what does not differ in traffic, counts or weight', () => {
    expect(sameToViews(pack({ ...UP, drained: true }), pack({ ...UP, drained: true, probe: 'failing' }))).toBe(true);
    expect(sameToViews(pack(UP), pack({ ...UP, probe: 'degraded' }))).toBe(false);
    expect(sameToViews(pack(UP), pack({ ...UP, probe: 'failing' }))).toBe(false);
    // No traffic either way, but the cap counts one of them.
    expect(sameToViews(pack({ ...UP, drained: true }), pack({ ...UP, drained: true, ejected: true }))).toBe(false);
  });
});

describe('panic', () => {
  const policy = { panicThreshold: 0.5, panicMode: 'route', maxEjectedShare: 0.5, degradedWeight: 0.5 } as const;

  it.each([
    ['exactly half available', 5, 10, 5, 'off'],
    ['less than half available', 4, 10, 6, 'route'],
    ['none available', 0, 3, 3, 'route'],
    ['less than half available, but all of the others out by breaker', 4, 10, 0, 'off'],
    ['nobody there', 0, 0, 0, 'off'],
  ])('%s', (_name, available, accountable, readmittable, mode) => {
    expect(panicOf({ available, accountable, readmittable }, policy)).toBe(mode);
  });

  it('is never reached with a threshold of 0, and rejects where the policy says so', () => {
    const counts = { available: 0, accountable: 5, readmittable: 5 };
    expect(panicOf(counts, { ...policy, panicThreshold: 0 })).toBe('off');
    expect(panicOf(counts, { ...policy, panicMode: 'reject' })).toBe('reject');
  });
});
