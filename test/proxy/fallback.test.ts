import { describe, expect, it } from 'vitest';
import { Attempt } from '../../src/proxy/attempt.ts';
import type { ProxyContext, Route } from '../../src/proxy/context.ts';
import type { PlaceQueues } from '../../src/proxy/place-queue.ts';
import type { Member } from '../../src/upstream/directory.ts';
import { FleetHarness } from '../upstream/fleet-harness.ts';
import { POLICY } from '../policy.ts';

/** A service whose only registered instance is half-open, and who has the next request that cannot be repeated. */
function pickedFor(fallback: boolean): string {
  const harness = new FleetHarness();
  const availability = { ...POLICY.availability, maxEjectedShare: 1 };
  harness.fleet.configure('web', {
    ...POLICY,
    availability,
    fallback: fallback ? [{ host: '10.9.9.9', port: 80 }] : [],
  });
  const [a, b] = harness.serving('a', 'b') as [Member, Member];
  const spare = harness.fleet.find('web', 'fallback:10.9.9.9:80');
  if (spare) harness.fleet.setProbe(spare, 'passing', 'test');
  if (fallback) harness.fleet.drain('web', b.instance.id);
  harness.fail(a);
  harness.clock.advance(5001);
  harness.fleet.flush();
  expect(harness.trials).toEqual(['a']);
  const { fleet, figures } = harness;
  const context = { fleet, figures } as Partial<ProxyContext> as ProxyContext;
  const attempt = new Attempt(context, {} as Partial<PlaceQueues> as PlaceQueues);
  const route = { service: fleet.service('web') } as Partial<Route> as Route;
  const member = attempt.begin(route, false, harness.clock.now());
  return typeof member === 'string' ? member : member.instance.id;
}

describe('a request that cannot be repeated', () => {
  it('is the trial of a half-open instance rather than one more for a fallback', () => {
    expect(pickedFor(true)).toBe('a');
  });

  it('goes to a peer that works where there is one', () => {
    expect(pickedFor(false)).toBe('b');
  });
});
