import { describe, it } from 'vitest';
import { systemClock } from '../../../src/core/clock.ts';
import type { Instance } from '../../../src/core/instance.ts';
import { seededRandom } from '../../../src/core/random.ts';
import type { OnSkip, RegistryBackend } from '../../../src/registry/backend.ts';
import { ZookeeperBackend, type ZookeeperOptions } from '../../../src/registry/zookeeper/zookeeper-backend.ts';
import { registryBackendContract, type RegistryHarness, type RegistryTraits } from '../../contract/registry-backend.ts';
import { digestId, zookeeperClasses, ZookeeperServer } from '../../servers/zookeeper.ts';

const PATH = '/services';

async function harness(valueOf: (instance: Instance) => unknown): Promise<RegistryHarness> {
  const zookeeper = await ZookeeperServer.start();
  const strict = await ZookeeperServer.start();
  // Whether a node exists is no secret of ZooKeeper's: only one that is there can be refused.
  const closed = Array.from({ length: 40 }, (_, at) => `${PATH}/contract-${at}`);
  await strict.write(closed.map((path) => ({ path, value: '' })));
  for (const path of closed) {
    await strict.setAcl(path, [{ permissions: 1, scheme: 'digest', id: digestId('reader', 'right') }]);
  }
  let frozen = false;
  const backend = (options: Partial<ZookeeperOptions> & { onSkip: OnSkip }): RegistryBackend =>
    new ZookeeperBackend({
      name: 'main',
      servers: [zookeeper.address],
      chroot: '',
      path: PATH,
      layout: 'auto',
      sessionTimeoutMs: 3000,
      connectMs: 1000,
      requestMs: 2000,
      clock: systemClock,
      random: seededRandom(1),
      ...options,
    });
  const pathOf = ({ service, id }: Instance): string => `${PATH}/${service}/${id}`;
  return {
    backend,
    register: (instance) => zookeeper.put(pathOf(instance), valueOf(instance)),
    deregister: (instance) => zookeeper.delete(pathOf(instance)),
    applyAll: (changes) =>
      zookeeper.write(
        changes.map(({ kind, instance }) => ({
          path: pathOf(instance),
          value: kind === 'deregister' ? undefined : JSON.stringify(valueOf(instance)),
        })),
      ),
    registerHostile: async (service) => {
      await zookeeper.put(`${PATH}/${service}/nonsense`, '{"host":');
      await zookeeper.put(`${PATH}/${service}/port`, { host: '10.0.0.1', port: 0 });
      await zookeeper.put(`${PATH}/${service}/address`, { name: service, address: 'a b', port: 80 });
      await zookeeper.put(`${PATH}/${service}/__proto__`, 'nothing');
    },
    lose: () => zookeeper.server.kill(),
    freeze: () => {
      frozen = true;
      zookeeper.server.freeze();
      return Promise.resolve();
    },
    restore: async () => {
      if (frozen) zookeeper.server.thaw();
      else await zookeeper.server.start();
      frozen = false;
    },
    restartEmpty: () => zookeeper.server.restartEmpty(),
    refusedBackend: () =>
      backend({
        servers: [strict.address],
        auth: { user: 'reader', password: 'wrong' },
        onSkip: () => undefined,
      }),
    close: async () => {
      await zookeeper[Symbol.asyncDispose]();
      await strict[Symbol.asyncDispose]();
    },
  };
}

function plain({ host, port, weight, zone, version, secure, state, metadata }: Instance): unknown {
  return { host, port, weight, zone, version, secure, state, metadata: Object.fromEntries(metadata) };
}

/** As Curator's JsonInstanceSerializer writes it for Spring Cloud: nothing is left out, what is missing is null. */
function spring({ service, id, host, port, weight, zone, version, secure, state, metadata }: Instance): unknown {
  return {
    name: service,
    id,
    address: host,
    port: secure ? null : port,
    sslPort: secure ? port : null,
    payload: {
      '@class': 'org.springframework.cloud.zookeeper.discovery.ZookeeperInstance',
      id: `${service}-1`,
      name: service,
      metadata: {
        ...Object.fromEntries(metadata),
        instance_status: state === 'up' ? 'UP' : 'OUT_OF_SERVICE',
        weight: String(weight),
        zone: zone ?? null,
        version: version ?? null,
      },
    },
    registrationTimeUTC: 1_732_000_000_000,
    serviceType: 'DYNAMIC',
    uriSpec: null,
  };
}

const traits: RegistryTraits = {
  carries: ['id', 'weight', 'zone', 'version', 'secure', 'state', 'metadata'],
  lacks: {},
  lossNames: { address: /127\.0\.0\.1:\d+/, setting: /registries\[\]\.connect/ },
  refusalNames: /registries\[\]\.auth\.user and registries\[\]\.auth\.password/,
  halfOpenMs: 6000,
};

if (zookeeperClasses === undefined) {
  describe('zookeeper', () => it.skip('no zookeeper here: install zookeeper', () => undefined));
} else {
  registryBackendContract('zookeeper, plain layout', () => harness(plain), traits);
  registryBackendContract('zookeeper, Spring layout', () => harness(spring), traits);
}
