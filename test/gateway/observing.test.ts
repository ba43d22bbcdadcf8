import { describe, expect, it } from 'vitest';
import { observeFleet, observeOutliers } from '../../src/gateway/observing.ts';
import { Timeline, type TimelineEvent } from '../../src/telemetry/timeline.ts';
import type { Member } from '../../src/upstream/directory.ts';
import { FleetHarness, web } from '../upstream/fleet-harness.ts';
import { POLICY } from '../policy.ts';

function watched() {
  const harness = new FleetHarness();
  const timeline = new Timeline({ clock: harness.clock });
  const said: string[] = [];
  const say = (event: string): void => void said.push(event);
  const log = { info: say, warn: say, error: say };
  const parts = { timeline, log, router: { metersOf: () => undefined } };
  observeFleet({
    ...parts,
    fleet: harness.fleet,
    clock: harness.clock,
    metrics: { instanceRefused: () => undefined },
    reasonOf: () => undefined,
  });
  return { harness, timeline, said, parts };
}

describe('the timeline', () => {
  it('says of every change of an instance when, from what, to what, why, and what was seen', () => {
    const { harness, timeline } = watched();
    const [a] = harness.serving('a', 'b', 'c') as [Member];
    const { fleet, figures, clock } = harness;
    clock.advance(1000);
    figures.take(a.slot);
    figures.answered(a.slot, 12.34, clock.now());
    clock.advance(2000);
    harness.fail(a);
    clock.advance(5001);
    a.admit()?.settle('success');
    fleet.drain('web', 'a');
    fleet.undrain('web', 'a');
    fleet.setEjected(a, true, 'test');
    fleet.setProbe(a, 'failing', '3 in a row: connect ECONNREFUSED');
    fleet.upsert(web('a', { state: 'down', stateReason: 'maintenance' }));
    fleet.remove('web', 'a');
    const events = timeline.of('web', 'a');
    const lines = events.map(({ kind, from, to, cause }) => `${kind}: ${from ?? '-'} > ${to} (${cause})`);
    expect(lines).toEqual([
      'registered: - > registered (a registry has it)',
      'probe: unknown > passing (test)',
      'breaker: closed > open (5 failures in a row, the last: timeout)',
      expect.stringMatching(/^breaker: open > half-open/),
      expect.stringMatching(/^breaker: half-open > closed/),
      'drain: in rotation > drained (operator)',
      'drain: drained > in rotation (operator)',
      'ejection: in rotation > ejected (test)',
      'probe: passing > failing (3 in a row: connect ECONNREFUSED)',
      'registered: up > down (maintenance)',
      'deregistered: registered > deregistered (no registry has it any more)',
    ]);
    for (const { evidence, wall } of events) {
      expect(evidence).toMatch(/^10\.0\.0\.1:8097|^no request yet$/);
      expect(wall).toBeGreaterThan(0);
    }
    expect(events[2]?.evidence).toBe(
      '10.0.0.1:8097, 1 in flight, last success 2 s ago, 12.3 ms to the response head, 0 successes and 5 failures in the window',
    );
  });

  it('says when panic and fallback begin and end, and how many are left', () => {
    const { harness, timeline, said } = watched();
    harness.fleet.configure('web', { ...POLICY, fallback: [{ host: '10.9.9.9', port: 80 }] });
    const [a, b] = harness.serving('a', 'b', 'c') as [Member, Member];
    const spare = harness.fleet.find('web', 'fallback:10.9.9.9:80')!;
    const of = (kind: TimelineEvent['kind']): string[] =>
      timeline
        .of('web')
        .filter((event) => event.kind === kind)
        .map(({ from, to, cause, evidence }) => `${from ?? '-'} > ${to} (${cause}: ${evidence ?? '-'})`);
    for (const member of [a, b]) harness.fleet.setProbe(member, 'failing', 'test');
    harness.fleet.flush();
    harness.fleet.setProbe(spare, 'passing', 'test');
    harness.fleet.setProbe(harness.fleet.find('web', 'c')!, 'failing', 'test');
    harness.fleet.flush();
    expect(of('panic')).toEqual([
      'calm > panic (share of available instances: 1 available of 4)',
      'panic > calm (share of available instances: 0 available of 4)',
    ]);
    expect(of('fallback')).toEqual(['in reserve > in use (no registered instance is available: 0 available of 4)']);
    expect(said).toContain('fallback: only fallback instances are available');
    expect(timeline.of('web', spare.instance.id)[0]?.cause).toBe('configured as fallback');
    harness.fleet.configure('web', POLICY);
    expect(timeline.of('web', spare.instance.id).at(-1)?.cause).toBe('configured no longer');
  });

  it('says once of an outlier that stays in the rotation', () => {
    const { harness, timeline, parts } = watched();
    const [a] = harness.serving('a') as [Member];
    const tell = observeOutliers(parts);
    const outlier = { slot: a.slot, by: 'latency', text: '900 ms' } as const;
    tell(a, outlier, 'observe', true);
    tell(a, outlier, 'observe', false);
    tell(a, outlier, 'eject', true);
    const found = timeline.of('web', 'a').filter(({ kind }) => kind === 'outlier');
    expect(found).toMatchObject([{ to: 'outlier by latency', cause: 'observed only', evidence: '900 ms' }]);
  });
});
