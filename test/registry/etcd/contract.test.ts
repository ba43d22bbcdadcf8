import { describe, it } from 'vitest';
import { systemClock } from '../../../src/core/clock.ts';
import type { Instance } from '../../../src/core/instance.ts';
import type { OnSkip, RegistryBackend } from '../../../src/registry/backend.ts';
import { EtcdBackend, type EtcdOptions } from '../../../src/registry/etcd/etcd-backend.ts';
import { registryBackendContract, type RegistryHarness } from '../../contract/registry-backend.ts';
import { etcdBinary, EtcdServer } from '../../servers/etcd.ts';

const PREFIX = '/services/';

async function harness(): Promise<RegistryHarness> {
  const etcd = await EtcdServer.start();
  const strict = await EtcdServer.start();
  await strict.enableAuth({ name: 'reader', password: 'right', role: 'discovery', readPrefix: PREFIX });
  let frozen = false;
  const backend = (options: Partial<EtcdOptions> & { onSkip: OnSkip }): RegistryBackend => {
    const deadlines = { connectMs: 2000, requestMs: 2000, heartbeatMs: 1000 };
    return new EtcdBackend({
      name: 'main',
      endpoints: [etcd.url],
      prefix: PREFIX,
      clock: systemClock,
      ...deadlines,
      ...options,
    });
  };
  const write = (instance: Instance): { key: string; value: string } => ({
    key: keyOf(instance),
    value: valueOf(instance),
  });
  return {
    backend,
    register: (instance) => etcd.write([write(instance)]),
    deregister: (instance) => etcd.delete(keyOf(instance)),
    applyAll: (changes) =>
      etcd.write(
        changes.map(({ kind, instance }) => ({
          ...write(instance),
          ...(kind === 'deregister' ? { value: undefined } : {}),
        })),
      ),
    registerHostile: async (service) => {
      await etcd.put(`${PREFIX}${service}/nonsense`, '{"host":');
      await etcd.put(`${PREFIX}${service}/port`, { host: '10.0.0.1', port: 0 });
      await etcd.put(`${PREFIX}${service}/host`, { host: 'a b', port: 80 });
      await etcd.put(`${PREFIX}${service}/__proto__`, 'nothing');
    },
    lose: () => etcd.server.kill(),
    freeze: () => {
      frozen = true;
      etcd.server.freeze();
      return Promise.resolve();
    },
    restore: async () => {
      if (frozen) etcd.server.thaw();
      else await etcd.server.start();
      frozen = false;
    },
    restartEmpty: () => etcd.server.restartEmpty(),
    refusedBackend: () =>
      backend({ endpoints: [strict.url], username: 'reader', password: 'wrong', onSkip: () => undefined }),
    close: async () => {
      await etcd[Symbol.asyncDispose]();
      await strict[Symbol.asyncDispose]();
    },
  };
}

function keyOf(instance: Instance): string {
  return `${PREFIX}${instance.service}/${instance.id}`;
}

function valueOf({ host, port, weight, zone, version, secure, state, metadata }: Instance): string {
  return JSON.stringify({ host, port, weight, zone, version, secure, state, metadata: Object.fromEntries(metadata) });
}

if (etcdBinary === undefined) {
  describe('etcd', () => it.skip('no etcd binary here: install etcd-server', () => undefined));
} else {
  registryBackendContract('etcd', harness, {
    carries: ['id', 'weight', 'zone', 'version', 'secure', 'state', 'metadata'],
    lacks: {},
    lossNames: { address: /http:\/\/127\.0\.0\.1:\d+/, setting: /registries\[\]\.endpoints/ },
    refusalNames: /registries\[\]\.username and registries\[\]\.password/,
    halfOpenMs: 8000,
  });
}
