import { systemClock } from '../../../src/core/clock.ts';
import type { Instance } from '../../../src/core/instance.ts';
import { seededRandom } from '../../../src/core/random.ts';
import type { OnSkip } from '../../../src/registry/backend.ts';
import { EurekaBackend } from '../../../src/registry/eureka/eureka-backend.ts';
import { registryBackendContract, type RegistryHarness } from '../../contract/registry-backend.ts';
import { TcpProxy } from '../../servers/tcp-proxy.ts';
import { ServedRegistry } from './served.ts';

function backendOn(url: string, onSkip: OnSkip): EurekaBackend {
  const deadlines = { pollIntervalMs: 50, emptyGraceMs: 0, connectMs: 500, requestMs: 1500 };
  const given = { clock: systemClock, random: seededRandom(1), onSkip };
  return new EurekaBackend({ name: 'main', urls: [url], useSecurePort: true, ...deadlines, ...given });
}

function bodyOf({ service, id, host, port, weight, zone, version, secure, state, metadata }: Instance): unknown {
  const lifted = { weight: String(weight), ...(zone ? { zone } : {}), ...(version ? { version } : {}) };
  return {
    instance: {
      instanceId: id,
      app: service,
      hostName: host,
      ipAddr: host,
      status: state === 'up' ? 'UP' : 'DOWN',
      port: { $: secure ? 80 : port, '@enabled': String(!secure) },
      securePort: { $: secure ? port : 443, '@enabled': String(secure) },
      dataCenterInfo: { '@class': 'com.netflix.appinfo.InstanceInfo$DefaultDataCenterInfo', name: 'MyOwn' },
      metadata: { ...Object.fromEntries(metadata), ...lifted },
    },
  };
}

/** Our own client of Eureka, following an embedded registry in which instances registered as Eureka's clients do. */
async function harness(): Promise<RegistryHarness> {
  const served = await ServedRegistry.start();
  const strict = await ServedRegistry.start({ token: 'secret' });
  const proxy = await TcpProxy.to(served.port);
  const heal = (): Promise<void> => {
    proxy.heal();
    return Promise.resolve();
  };
  const breakPath = (): Promise<void> => {
    proxy.blackHole();
    return Promise.resolve();
  };
  return {
    backend: ({ onSkip }) => backendOn(`http://127.0.0.1:${proxy.port}/eureka`, onSkip),
    register: async (instance) => {
      await served.must('POST', `/eureka/apps/${instance.service}`, bodyOf(instance));
    },
    deregister: async ({ service, id }) => {
      const { status } = await served.call('DELETE', `/eureka/apps/${service.toUpperCase()}/${id}`);
      if (status !== 200 && status !== 404) throw new Error(`DELETE answered ${status}`);
    },
    lose: breakPath,
    freeze: breakPath,
    restore: heal,
    restartEmpty: () => served.restartEmpty(),
    refusedBackend: () => backendOn(`http://user:wrong@127.0.0.1:${strict.port}/eureka`, () => undefined),
    close: async () => {
      await proxy[Symbol.asyncDispose]();
      await served[Symbol.asyncDispose]();
      await strict[Symbol.asyncDispose]();
    },
  };
}

registryBackendContract('eureka, on the embedded registry', harness, {
  carries: ['id', 'weight', 'zone', 'version', 'secure', 'state', 'metadata'],
  lacks: { hostile: 'the API refuses what is hostile before it is registered' },
  lossNames: { address: /http:\/\/127\.0\.0\.1:\d+/, setting: /registries\[\]\.urls/ },
  burst: 300,
  refusalNames: /registries\[\]\.urls/,
});
