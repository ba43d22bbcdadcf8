import { describe, expect, it } from 'vitest';
import type { RealServer } from '../servers/real-server.ts';
import { eventually, GatewayProcess, Instance, pause, request, Traffic } from './world.ts';

/** A real registry with a proxy in front, and how to write to it (not through the proxy). */
export interface Rig {
  readonly server: RealServer;
  readonly proxy: { blackHole(): void; heal(): void };
  /** YAML list for `registries:`, through the proxy, with `GUARD` among the keys of the registry. */
  readonly registries: string;
  register(service: string, id: string, port: number): Promise<void>;
  deregister(service: string, id: string): Promise<void>;
  dispose(): Promise<void>;
}

const LONG = process.env['FAIRLEAD_LONG'] === '1';

/**
 * An outage has to outlast everything that could make the gateway believe it: the guard's deadline (10 s here; 30 s by
 * default, as in the long form), a session of ZooKeeper (5 s at most with the ticks of our server), and the doublings of
 * the pause between attempts up to some seconds. etcd, Consul and Eureka hold registrations without leases here. The long
 * form also outlasts the longest pause between attempts (30 s), and ends as the state `failed` begins (60 s).
 */
const OUTAGE_MS = LONG ? 60_000 : 15_000;
export const GUARD = LONG ? 'guard: {}' : 'guard: { deadline: 10s }';

/**
 * What no registry may do to the callers of a service, whatever befalls it: run for each kind of registry on the real
 * server, through the running gateway, under load.
 */
export function registryStorms(name: string, available: boolean, start: () => Promise<Rig>): void {
  const required = process.env['FAIRLEAD_REQUIRE_SERVERS'] !== undefined;
  describe.skipIf(!available && !required)(`the gateway on ${name}, under load`, { timeout: 240_000 }, () => {
    it('follows changes, and survives stop, freeze, black hole, an empty restart and a storm of changes without a failed request', async () => {
      const rig = await start();
      const instances = await Promise.all([Instance.start({ name: 'a' }), Instance.start({ name: 'b' })]);
      const spare = await Instance.start({ name: 'spare' });
      const registerAll = async (): Promise<void> => {
        for (const each of instances) await rig.register('web', each.name, each.port);
      };
      await registerAll();
      const gateway = await GatewayProcess.start({ registries: rig.registries });
      try {
        await gateway.serving('web', 2);
        const traffic = new Traffic(gateway, { perSecond: 100 });
        const served = async (count: number, withinMs: number): Promise<void> => {
          await eventually(
            `${count} instances of web`,
            async () => (await gateway.explain('web')).instances.length === count,
            withinMs,
          );
        };

        // Register, and it takes traffic; deregister, and it takes none.
        const propagation: number[] = [];
        for (let round = 0; round < 20; round++) {
          const service = `fresh-${round}`;
          await rig.register(service, 'spare', spare.port);
          const began = performance.now();
          await eventually(
            `${service} answers`,
            async () => (await request(gateway, { service })).status === 200,
            10_000,
          );
          propagation.push(performance.now() - began);
        }
        propagation.sort((x, y) => x - y);
        console.log(
          `${name}: register → routed, median ${propagation[10]?.toFixed(1)} ms, worst ${propagation.at(-1)?.toFixed(1)} ms (polled every 20 ms)`,
        );
        await rig.deregister('fresh-0', 'spare');
        await eventually(
          'fresh-0 has nobody',
          async () => (await request(gateway, { service: 'fresh-0' })).status === 503,
          10_000,
        );

        // The server is killed for a while.
        await rig.server.kill();
        await pause(OUTAGE_MS);
        await rig.server.start();
        // A registry that keeps nothing on disk is told again, as its clients would.
        await registerAll();
        await rig.register('web', 'spare', spare.port);
        await served(3, 40_000);

        // It is frozen: the kernel still acknowledges, nobody answers.
        rig.server.freeze();
        await pause(4000);
        rig.server.thaw();
        await rig.deregister('web', 'spare');
        await served(2, 40_000);

        // Nothing arrives, and nobody is told.
        rig.proxy.blackHole();
        await rig.register('web', 'spare', spare.port);
        await pause(3000);
        rig.proxy.heal();
        await served(3, 60_000);

        // It forgets everything, and is told again within seconds.
        await rig.server.restartEmpty();
        await pause(2000);
        await registerAll();
        await served(2, 90_000);

        // A thousand changes in a second or so, of other services and of this one.
        const ids = Array.from({ length: 100 }, (_, at) => `churn-${at}`);
        for (let round = 0; round < 5; round++) {
          await Promise.all(ids.map((id, at) => rig.register('churn', id, 20_000 + 100 * round + at)));
          const going = round === 4 ? ids.filter((id) => !id.endsWith('7')) : ids;
          await Promise.all(going.map((id) => rig.deregister('churn', id)));
        }
        await rig.register('web', 'spare', spare.port);
        await served(3, 30_000);
        await eventually(
          'the table equals the registry',
          async () => {
            const { instances: churn } = await gateway.explain('churn');
            const ports = churn.map(({ address }) => Number(address.split(':')[1])).sort();
            return (
              JSON.stringify(ports) === JSON.stringify(ids.flatMap((_, at) => (at % 10 === 7 ? [20_400 + at] : [])))
            );
          },
          60_000,
        );

        const tally = await traffic.stop();
        expect(tally.failures).toEqual([]);
        const metrics = await (await fetch(`${gateway.admin}/metrics`)).text();
        expect(metrics).not.toMatch(/fairlead_registry_drift_total\{[^}]*\} [1-9]/);
        expect(tally.sent).toBeGreaterThan(2000);
      } finally {
        await gateway.stop();
        for (const each of [...instances, spare]) await each.kill();
        await rig.dispose();
      }
    });
  });
}
