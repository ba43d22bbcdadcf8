/**
 * Cost of comparing instances, per turn of the event loop: `node bench/micro/outliers.ts`.
 * Goals: ≤ a few ms for 100,000 instances with traffic, and no turn above 5 ms.
 */
import { ManualClock } from '../../src/core/clock.ts';
import { instance } from '../../src/core/instance.ts';
import { seededRandom } from '../../src/core/random.ts';
import { Outliers } from '../../src/gateway/outliers.ts';
import { Figures } from '../../src/upstream/figures.ts';
import { Fleet } from '../../src/upstream/fleet.ts';
import { POLICY } from '../../test/policy.ts';

const COUNT = 100_000;

for (const services of [1, 100, 10_000]) {
  const clock = new ManualClock();
  const figures = new Figures(131_072);
  const random = seededRandom(1);
  const fleet = new Fleet({ clock, random, figures, defaultPolicy: POLICY });
  for (let at = 0; at < COUNT; at++) {
    const host = `10.${at >> 16}.${(at >> 8) & 255}.${at & 255}`;
    const member = fleet.upsert(instance({ id: `i${at}`, service: `s${at % services}`, host, port: 80 }));
    if (member) fleet.setProbe(member, 'passing', 'bench');
  }
  fleet.flush();
  let found = 0;
  const turns: number[] = [];
  const timed = {
    // Real time within a turn, so that turns end as they do in earnest.
    now: () => clock.now() + (performance.now() % 1000),
    wall: () => clock.wall(),
    after: (delayMs: number, task: () => void) =>
      clock.after(delayMs, () => {
        // Of this process alone: what else runs on the machine is of no interest here.
        const before = process.cpuUsage();
        task();
        const { user, system } = process.cpuUsage(before);
        turns.push((user + system) / 1000);
      }),
  };
  const watch = new Outliers({ clock: timed, fleet, onOutlier: () => found++ });
  let totalMs = 0;
  for (let interval = 0; interval < 8; interval++) {
    for (let slot = 0; slot < COUNT; slot++) {
      figures.attempts[slot] = (figures.attempts[slot] ?? 0) + 1000;
      figures.latencyMs[slot] = slot % 5000 === 0 ? 900 : 20 + random() * 20;
    }
    turns.length = 0;
    clock.advance(10_000);
    if (interval >= 3) totalMs += turns.reduce((sum, each) => sum + each, 0);
  }
  const perInterval = (totalMs / 5).toFixed(1);
  const longest = Math.max(...turns).toFixed(2);
  console.log(
    `${COUNT} instances of ${services} services: ${perInterval} ms per interval, longest turn ${longest} ms, ${found} found`,
  );
  watch.close();
  fleet.close();
}
