import { beforeEach, describe, expect, it } from 'vitest';
import { ManualClock } from '../../src/core/clock.ts';
import { instance } from '../../src/core/instance.ts';
import { seededRandom } from '../../src/core/random.ts';
import { Figures } from '../../src/upstream/figures.ts';
import { Fleet } from '../../src/upstream/fleet.ts';
import { Feed } from '../../src/worker/feed.ts';
import type { Update } from '../../src/worker/update.ts';
import { POLICY } from '../policy.ts';

describe('a data-plane thread', () => {
  let clock: ManualClock;
  let fleet: Fleet;
  let feed: Feed;
  let sent: Update[];
  let unacknowledged: Update[];
  let count: number;

  beforeEach(async () => {
    clock = new ManualClock();
    sent = [];
    unacknowledged = [];
    const send = (update: Update): void => {
      sent.push(update);
      unacknowledged.push(update);
    };
    count = 0;
    fleet = new Fleet({ clock, random: seededRandom(1), figures: new Figures(8192), defaultPolicy: POLICY });
    feed = new Feed({ fleet, rowOf: () => 2, send });
    fleet.listen({
      serviceAdded: (service) => feed.serviceChanged(service),
      added: (member) => feed.memberChanged(member),
      viewChanged: (service) => feed.viewChanged(service),
    });
    await change();
    clock.advance(1000);
  });

  /** One more instance; the thread takes over all that it is sent at once. */
  async function change(): Promise<void> {
    const id = `i-${count}`;
    count += 1;
    fleet.upsert(instance({ id, service: 'web', host: '127.0.0.1', port: 1000 + count }));
    fleet.flush();
    await acknowledged();
  }

  async function acknowledged(): Promise<void> {
    for (let turn = 0; turn < 3; turn += 1) await Promise.resolve();
    for (const { through } of unacknowledged.splice(0)) feed.acknowledged(through);
  }

  const told = (): number => sent.splice(0).length;

  it('is told of a change in the turn of the event loop in which it happens', async () => {
    told();
    await change();
    expect(told()).toBe(1);
    await change();
    expect(told()).toBe(1);
  });

  it('is told of a storm of changes some 250 times a second, and of none of them later than 4 ms', async () => {
    told();
    let latestMs = 0;
    let waitingSinceMs: number | undefined;
    for (let ms = 0; ms < 1000; ms += 1) {
      waitingSinceMs ??= clock.now();
      await change();
      if (sent.length > 0) waitingSinceMs = undefined;
      else latestMs = Math.max(latestMs, clock.now() - waitingSinceMs);
      clock.advance(1);
      await acknowledged();
    }
    expect(sent.length).toBeGreaterThan(240);
    expect(sent.length).toBeLessThan(260);
    expect(latestMs).toBeLessThanOrEqual(4);
  });
});
