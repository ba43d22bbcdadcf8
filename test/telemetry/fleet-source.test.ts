import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { HealthState } from '../../src/core/health.ts';
import { INSTANCE_STANDINGS, isUp, standingOf } from '../../src/telemetry/fleet-source.ts';
import { availability } from '../../src/upstream/availability.ts';

const WELL: HealthState = { registered: 'up', probe: 'passing', breaker: 'closed', ejected: false, drained: false };

const anyHealth: fc.Arbitrary<HealthState> = fc.record({
  registered: fc.constantFrom('up', 'degraded', 'down'),
  probe: fc.constantFrom('unknown', 'passing', 'degraded', 'failing'),
  breaker: fc.constantFrom('closed', 'open', 'half-open'),
  ejected: fc.boolean(),
  drained: fc.boolean(),
});

describe('the state of an instance in one word', () => {
  test.each<[Partial<HealthState>, string]>([
    [{}, 'available'],
    [{ registered: 'degraded' }, 'degraded'],
    [{ probe: 'degraded' }, 'degraded'],
    [{ registered: 'down', drained: true }, 'down'],
    [{ drained: true, ejected: true }, 'drained'],
    [{ ejected: true, breaker: 'open' }, 'ejected'],
    [{ breaker: 'open', probe: 'failing' }, 'breaker-open'],
    [{ probe: 'failing', breaker: 'half-open' }, 'failing'],
    [{ probe: 'unknown' }, 'unknown'],
    [{ breaker: 'half-open' }, 'half-open'],
  ])('%j is %s', (health, standing) => {
    expect(standingOf({ ...WELL, ...health })).toBe(standing);
  });

  test('says up exactly when the truth table lets the instance have full traffic', () => {
    fc.assert(
      fc.property(anyHealth, (health) => {
        const standing = standingOf(health);
        expect(INSTANCE_STANDINGS).toContain(standing);
        const regime = { mode: 'strict', panic: 'off', fallback: false } as const;
        const { traffic } = availability({ ...health, passedOnce: true, fallback: false }, regime);
        expect(isUp(standing)).toBe(traffic === 'full');
      }),
    );
  });
});
