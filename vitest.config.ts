import { configDefaults, defineConfig } from 'vitest/config';
import { BaseSequencer, type TestSpecification } from 'vitest/node';

/**
 * Files that mostly wait: for servers to start, for leases, silences and backoffs. Four at once need less than two cores.
 * What asserts milliseconds, sends hundreds of requests a second, or burns CPU is not among them.
 */
const WAITING = [
  'test/e2e/registry-storms-*.test.ts',
  'test/e2e/{clock-step,cold-start,reload,streaming}.test.ts',
  'test/registry/{consul,dns,etcd,eureka,kubernetes,zookeeper}/{contract,real}.test.ts',
];

/** More than 20 s each, the longest first: begun last, one of them would have the cores to itself at the end. */
const LONGEST = [
  'registry-storms-consul',
  'registry-storms-eureka',
  'registry-storms-zookeeper',
  'registry-storms-etcd',
  'eureka/contract',
  'eureka/real',
  'e2e/streaming',
  'zookeeper/contract',
  'e2e/network-faults',
  'e2e/survival',
  'sim/simulation',
  'e2e/outage',
  'fuzz/differential',
  'e2e/upgrade',
  'e2e/churn',
  'e2e/operating',
  'e2e/slow-instance',
  'e2e/slow-clients',
  'worker/threads',
].map((name) => `/${name}.test.ts`);

class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const rank = ({ moduleId }: TestSpecification): number => {
      const at = LONGEST.findIndex((name) => moduleId.endsWith(name));
      return at === -1 ? LONGEST.length : at;
    };
    return (await super.sort(files)).sort((a, b) => rank(a) - rank(b));
  }
}

export default defineConfig({
  test: {
    sequence: { sequencer: LongestFirst },
    testTimeout: 20_000,
    hookTimeout: 60_000,
    // Real servers, kills and deadlines on a machine that others use too: a test that fails once and then passes is
    // printed as retried, and is a bug to mend, but it does not hide what everything else says. Locally it fails.
    retry: process.env['CI'] === 'true' ? 1 : 0,
    unstubEnvs: true,
    // The groups run one after the other: what measures has the machine to itself and one neighbour.
    projects: [
      {
        extends: true,
        test: { name: 'waiting', include: WAITING, maxWorkers: 4, sequence: { groupOrder: 0 } },
      },
      {
        extends: true,
        test: {
          name: 'working',
          include: ['test/**/*.test.ts'],
          exclude: [...configDefaults.exclude, ...WAITING],
          // Real servers and processes share two cores: more files at once only make their deadlines noisy.
          maxWorkers: 2,
          sequence: { groupOrder: 1 },
        },
      },
    ],
  },
});
