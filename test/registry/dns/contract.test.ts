import { systemClock } from '../../../src/core/clock.ts';
import type { Instance } from '../../../src/core/instance.ts';
import { seededRandom } from '../../../src/core/random.ts';
import type { OnSkip, RegistryBackend } from '../../../src/registry/backend.ts';
import { DnsBackend, type DnsOptions } from '../../../src/registry/dns/dns-backend.ts';
import { registryBackendContract, type RegistryHarness } from '../../contract/registry-backend.ts';
import { a, FakeDns, REFUSED, srv } from '../../servers/dns.ts';

/** SRV records with a target of its own for each instance; every name that the suite may use is configured. */
async function harness(tcp: boolean): Promise<RegistryHarness> {
  const dns = await FakeDns.start();
  // Empty answers are not to be kept, so that tests need not wait for them.
  dns.negativeTtlS = 0;
  const strict = await FakeDns.start();
  strict.onQuery = () => ({ rcode: REFUSED });
  const registered = new Map<string, Map<string, Instance>>();
  let [frozen, hostile] = [false, new Set<string>()];
  const nameOf = (service: string): string => `_${service}._tcp.test`;
  const services: DnsOptions['services'] = new Map(
    Array.from(
      { length: 100 },
      (_, at) => [`contract-${at}`, { kind: 'srv', name: nameOf(`contract-${at}`) }] as const,
    ),
  );
  const publish = (service: string): void => {
    dns.remove(nameOf(service));
    const instances = registered.get(service);
    if (!instances && !hostile.has(service)) return;
    dns.clear(nameOf(service));
    for (const { id, host, port, weight } of instances?.values() ?? []) {
      const target = `${id}.${service}.test`;
      dns.remove(target);
      dns.put(srv(nameOf(service), target, port, weight), a(target, host));
    }
    if (hostile.has(service)) dns.put(srv(nameOf(service), 'nowhere.test', 80), srv(nameOf(service), 'bad', 0));
  };
  dns.put(a('bad', '10.0.0.1'));
  const backend = (options: Partial<DnsOptions> & { onSkip: OnSkip }): RegistryBackend =>
    new DnsBackend({
      name: 'main',
      servers: [dns.server],
      services,
      tcp,
      minTtlMs: 40,
      timeoutMs: 500,
      clock: systemClock,
      random: seededRandom(7),
      ...options,
    });
  return {
    backend,
    register: (instance) => {
      const instances = registered.get(instance.service) ?? new Map<string, Instance>();
      registered.set(instance.service, instances.set(instance.id, instance));
      publish(instance.service);
      return Promise.resolve();
    },
    deregister: ({ service, id }) => {
      registered.get(service)?.delete(id);
      publish(service);
      return Promise.resolve();
    },
    registerHostile: (service) => {
      hostile = new Set([...hostile, service]);
      publish(service);
      return Promise.resolve();
    },
    lose: () => dns.stop(),
    freeze: () => {
      frozen = true;
      dns.onQuery = () => undefined;
      return Promise.resolve();
    },
    restore: async () => {
      if (frozen) dns.onQuery = (ask) => dns.fromZone(ask);
      else await dns.listen();
      frozen = false;
    },
    restartEmpty: async () => {
      await dns.stop();
      registered.clear();
      dns.zone.clear();
      await dns.listen();
    },
    refusedBackend: () => backend({ servers: [strict.server], onSkip: () => undefined }),
    close: async () => {
      await dns[Symbol.asyncDispose]();
      await strict[Symbol.asyncDispose]();
    },
  };
}

for (const tcp of [false, true]) {
  registryBackendContract(`dns by ${tcp ? 'TCP' : 'UDP'}`, () => harness(tcp), {
    carries: ['weight'],
    lacks: { unicode: 'records have no texts' },
    lossNames: { address: /127\.0\.0\.1:\d+/, setting: /registries\[\]\.servers/ },
    refusalNames: /registries\[\]\.servers.*REFUSED/,
    halfOpenMs: 5000,
  });
}
