/**
 * Cost of a change of the fleet, from the call to the published view: `node --expose-gc bench/micro/view.ts`.
 * Goals: ≤ 50 µs for one change in a service of usual size, ≤ 1 ms among 100,000; ≤ 150 ms for a reset of 100,000;
 * ≤ 40 MB for 100,000 idle members.
 */
import { systemClock } from '../../src/core/clock.ts';
import { type Instance, instance } from '../../src/core/instance.ts';
import { seededRandom } from '../../src/core/random.ts';
import type { Member } from '../../src/upstream/directory.ts';
import { Figures } from '../../src/upstream/figures.ts';
import { Fleet } from '../../src/upstream/fleet.ts';
import { collect, measure } from './measure.ts';
import { POLICY } from '../../test/policy.ts';

const CAPACITY = 262_144;

function newFleet(): Fleet {
  const figures = new Figures(CAPACITY);
  return new Fleet({ clock: systemClock, random: seededRandom(1), figures, defaultPolicy: POLICY });
}

function instances(count: number, service: string): Instance[] {
  return Array.from({ length: count }, (_, at) =>
    instance({ id: `${service}-${at}`, service, host: `10.${at >> 16}.${(at >> 8) & 255}.${at & 255}`, port: 8080 }),
  );
}

/** Makes these the registered instances of the service. */
function reset(fleet: Fleet, service: string, all: readonly Instance[]): void {
  const listed = new Set(all.map(({ id }) => id));
  for (const id of fleet.service(service)?.members.keys() ?? []) if (!listed.has(id)) fleet.remove(service, id);
  for (const each of all) fleet.upsert(each);
}

function fill(fleet: Fleet, service: string, all: readonly Instance[]): Member[] {
  reset(fleet, service, all);
  const members = [...(fleet.service(service)?.members.values() ?? [])];
  for (const member of members) fleet.setProbe(member, 'passing', 'bench');
  fleet.flush();
  return members;
}

for (const services of [1, 10_000]) {
  const sets = Array.from({ length: services }, (_, at) => instances(100_000 / services, `service-${at}`));
  collect();
  const start = process.memoryUsage();
  const fleet = newFleet();
  for (const [at, set] of sets.entries()) fill(fleet, `service-${at}`, set);
  collect();
  const end = process.memoryUsage();
  const mib = (bytes: number): string => (bytes / 1_048_576).toFixed(1);
  console.log(
    `memory of 100,000 idle members in ${services} services: heap ${mib(end.heapUsed - start.heapUsed)} MiB, resident ${mib(end.rss - start.rss)} MiB`,
  );
  fleet.close();
}

const newcomer = instances(1, 'new').map((each) => ({ ...each, service: 'web' }))[0] as Instance;

for (const count of [10, 1000, 10_000, 100_000]) {
  const fleet = newFleet();
  const members = fill(fleet, 'web', instances(count, 'web'));
  const rounds = Math.max(20, Math.min(2000, Math.floor(4_000_000 / count)));
  let turn = 0;
  await measure(
    `one probe flip among ${count}`,
    () => {
      const member = members[((turn++ >> 1) * 7919) % count];
      if (member) fleet.setProbe(member, member.health.probe === 'passing' ? 'failing' : 'passing', 'bench');
      fleet.flush();
    },
    rounds,
  );
  await measure(
    `one instance added and removed among ${count}`,
    () => {
      fleet.upsert(newcomer);
      fleet.flush();
      fleet.remove('web', newcomer.id);
      fleet.flush();
    },
    rounds,
  );
  fleet.close();
}

const before = [
  'first reset of 100,000',
  'reset to the same 100,000',
  'reset to 100,000 others',
  'reset to half of them',
];
const sets = [instances(100_000, 'web'), instances(100_000, 'web'), instances(100_000, 'other')].map((set) =>
  set.map((each) => ({ ...each, service: 'web' })),
);
for (let round = 0; round < 3; round++) {
  const fleet = newFleet();
  const [first, same, others] = sets as [Instance[], Instance[], Instance[]];
  [first, same, others, others.slice(0, 50_000)].forEach((set, at) => {
    collect();
    const used = process.cpuUsage();
    const began = performance.now();
    reset(fleet, 'web', set);
    fleet.flush();
    const took = performance.now() - began;
    const { user, system } = process.cpuUsage(used);
    console.log(`${before[at]}: ${took.toFixed(0)} ms, ${((user + system) / 1000).toFixed(0)} ms of CPU`);
  });
  fleet.close();
}
