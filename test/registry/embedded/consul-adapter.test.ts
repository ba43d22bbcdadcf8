import { systemClock } from '../../../src/core/clock.ts';
import type { Instance } from '../../../src/core/instance.ts';
import { seededRandom } from '../../../src/core/random.ts';
import type { RegistryBackend } from '../../../src/registry/backend.ts';
import { ConsulBackend, type ConsulOptions } from '../../../src/registry/consul/consul-backend.ts';
import { registryBackendContract, type RegistryHarness } from '../../contract/registry-backend.ts';
import { TcpProxy } from '../../servers/tcp-proxy.ts';
import { ServedRegistry } from './served.ts';

function idOf({ service, id }: Instance): string {
  return `${service}.${id}`;
}

function bodyOf(instance: Instance): unknown {
  const { service, host, port, weight, zone, version, secure, metadata } = instance;
  const lifted = { ...(zone ? { zone } : {}), ...(version ? { version } : {}), ...(secure ? { secure: 'true' } : {}) };
  return {
    ID: idOf(instance),
    Name: service,
    Address: host,
    Port: port,
    Meta: { ...Object.fromEntries(metadata), ...lifted },
    Weights: { Passing: weight, Warning: 1 },
    Check: { CheckID: `${idOf(instance)}-check`, TTL: '1h', Status: statusOf(instance) },
  };
}

function statusOf({ state }: Instance): string {
  return state === 'up' ? 'passing' : state === 'degraded' ? 'warning' : 'critical';
}

/** Our own client of Consul, following an embedded registry in which instances registered as with an agent. */
async function harness(): Promise<RegistryHarness> {
  const served = await ServedRegistry.start();
  const strict = await ServedRegistry.start({ token: 'secret' });
  const proxy = await TcpProxy.to(served.port);
  const breakPath = (): Promise<void> => {
    proxy.blackHole();
    return Promise.resolve();
  };
  const backend = (options: Pick<ConsulOptions, 'onSkip'> & Partial<ConsulOptions>): RegistryBackend => {
    const deadlines = { connectMs: 1000, requestMs: 2000, heartbeatMs: 1000 };
    const given = { clock: systemClock, random: seededRandom(1) };
    return new ConsulBackend({
      name: 'main',
      addresses: [`http://127.0.0.1:${proxy.port}`],
      ...deadlines,
      ...given,
      ...options,
    });
  };
  return {
    backend,
    register: async (instance) => {
      await served.must('PUT', '/v1/agent/service/register', bodyOf(instance));
      // A check that is registered again keeps the state it had.
      await served.must('PUT', `/v1/agent/check/update/${idOf(instance)}-check`, { Status: statusOf(instance) });
    },
    deregister: async (instance) => {
      const { status } = await served.call('PUT', `/v1/agent/service/deregister/${idOf(instance)}`);
      if (status !== 200 && status !== 404) throw new Error(`deregister answered ${status}`);
    },
    lose: breakPath,
    freeze: breakPath,
    restore: () => {
      proxy.heal();
      return Promise.resolve();
    },
    restartEmpty: () => served.restartEmpty(),
    refusedBackend: () => backend({ addresses: [strict.url], token: 'wrong', onSkip: () => undefined }),
    close: async () => {
      await proxy[Symbol.asyncDispose]();
      await served[Symbol.asyncDispose]();
      await strict[Symbol.asyncDispose]();
    },
  };
}

registryBackendContract('consul, on the embedded registry', harness, {
  carries: ['weight', 'zone', 'version', 'secure', 'state', 'metadata'],
  lacks: { hostile: 'the API refuses what is hostile before it is registered' },
  lossNames: { address: /http:\/\/127\.0\.0\.1:\d+/, setting: /registries\[\]\.address/ },
  burst: 300,
  refusalNames: /registries\[\]\.token/,
  halfOpenMs: 10_000,
  lossMs: 10_000,
});
