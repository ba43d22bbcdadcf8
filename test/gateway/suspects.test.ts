import { describe, expect, it } from 'vitest';
import { Suspects } from '../../src/gateway/suspects.ts';
import { FleetHarness } from '../upstream/fleet-harness.ts';
import { POLICY } from '../policy.ts';

function setUp({ breakers }: { breakers: boolean }) {
  const harness = new FleetHarness({
    defaultPolicy: { ...POLICY, breaker: { ...POLICY.breaker, enabled: breakers } },
  });
  const [a, b] = harness.serving('a', 'b', 'c', 'd');
  const suspects = new Suspects(harness.fleet, harness.clock);
  const { fleet, clock } = harness;
  return { harness, fleet, clock, suspects, a: a!, b: b!, pending: clock.pending };
}

describe('an ejection on evidence from the data path', () => {
  it('leaves it to the breaker, where there is one, when the instance may be tried again', () => {
    const { suspects, harness, a } = setUp({ breakers: true });
    suspects.eject(a.slot, 'it hangs', false);
    expect(a.health).toMatchObject({ breaker: 'open', ejected: false });
    expect(harness.slots).toEqual(['b', 'c', 'd']);
  });

  it('ends by itself where there are no breakers', () => {
    const { suspects, harness, clock, a, pending } = setUp({ breakers: false });
    suspects.eject(a.slot, 'it hangs', false);
    expect(harness.slots).toEqual(['b', 'c', 'd']);
    clock.advance(5000);
    expect(harness.slots).toEqual(['a', 'b', 'c', 'd']);
    expect(clock.pending).toBe(pending);
  });

  it('holds one timer, however often the instance is found to be gone', () => {
    const { suspects, clock, a, pending } = setUp({ breakers: false });
    for (let time = 0; time < 10; time++) suspects.eject(a.slot, 'refused', true);
    expect(clock.pending).toBe(pending + 1);
  });

  it('forgets one that leaves, and its end does not touch whoever has the slot then', () => {
    const { suspects, fleet, clock, a, pending } = setUp({ breakers: false });
    suspects.eject(a.slot, 'it hangs', false);
    fleet.remove('web', 'a');
    fleet.flush();
    expect(clock.pending).toBe(pending);
    suspects.eject(a.slot, 'it hangs', false);
    expect(clock.pending).toBe(pending);
  });

  it('respects the cap', () => {
    const { suspects, harness, clock, pending, a, b, fleet } = setUp({ breakers: false });
    suspects.eject(a.slot, 'it hangs', false);
    suspects.eject(b.slot, 'it hangs', false);
    suspects.eject(fleet.find('web', 'c')!.slot, 'it hangs', false);
    expect(harness.slots).toEqual(['c', 'd']);
    expect(clock.pending).toBe(pending + 2);
  });

  it('leaves no timer behind when it is closed', () => {
    const { suspects, clock, a, b, pending } = setUp({ breakers: false });
    suspects.eject(a.slot, 'it hangs', false);
    suspects.eject(b.slot, 'it hangs', false);
    suspects.close();
    expect(clock.pending).toBe(pending);
  });
});
