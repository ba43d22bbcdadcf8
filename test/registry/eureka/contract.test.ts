import { describe, it } from 'vitest';
import { systemClock } from '../../../src/core/clock.ts';
import type { Instance } from '../../../src/core/instance.ts';
import { seededRandom } from '../../../src/core/random.ts';
import type { OnSkip } from '../../../src/registry/backend.ts';
import { EurekaBackend } from '../../../src/registry/eureka/eureka-backend.ts';
import { registryBackendContract, type RegistryHarness, type RegistryTraits } from '../../contract/registry-backend.ts';
import { EurekaFixture, type EurekaInstance } from '../../servers/eureka-fixture.ts';
import { eurekaJar, EurekaServer } from '../../servers/eureka.ts';
import { TcpProxy } from '../../servers/tcp-proxy.ts';

/** `patient`: where no deadline is what ends it. */
function backendOn(url: string, onSkip: OnSkip, patient = false): EurekaBackend {
  return new EurekaBackend({
    name: 'main',
    urls: [url],
    useSecurePort: true,
    pollIntervalMs: 50,
    // How long an empty one is not believed has tests of its own.
    emptyGraceMs: 0,
    connectMs: patient ? 5000 : 500,
    requestMs: patient ? 15_000 : 1500,
    clock: systemClock,
    random: seededRandom(1),
    onSkip,
  });
}

function registration(instance: Instance): EurekaInstance {
  const { service, id, host, port, weight, zone, version, secure, state, metadata } = instance;
  const given = {
    weight: String(weight),
    ...(zone === undefined ? {} : { zone }),
    ...(version === undefined ? {} : { version }),
  };
  return {
    instanceId: id,
    app: service,
    hostName: host,
    ipAddr: host,
    status: state === 'up' ? 'UP' : 'DOWN',
    port: { $: secure ? 80 : port, '@enabled': 'true' },
    securePort: { $: secure ? port : 443, '@enabled': String(secure) },
    dataCenterInfo: { '@class': 'com.netflix.appinfo.InstanceInfo$DefaultDataCenterInfo', name: 'MyOwn' },
    metadata: { ...Object.fromEntries(metadata), ...given },
  };
}

function hostile(service: string): EurekaInstance[] {
  const one = registration({ ...EXAMPLE, service, id: 'bad-host', host: 'a b' });
  return [one, { ...one, instanceId: 'no-port', hostName: '10.0.0.1', port: { $: 0, '@enabled': 'true' } }];
}

const EXAMPLE: Instance = {
  id: 'a',
  service: 'a',
  host: '10.0.0.1',
  port: 80,
  weight: 1,
  zone: undefined,
  version: undefined,
  secure: false,
  state: 'up',
  stateReason: undefined,
  metadata: new Map(),
  checks: undefined,
};

async function fixtureHarness(): Promise<RegistryHarness> {
  const eureka = await EurekaFixture.start();
  const strict = await EurekaFixture.start();
  strict.refuse = { full: 401, delta: 401 };
  const now = (work: () => void): Promise<void> => {
    work();
    return Promise.resolve();
  };
  return {
    backend: ({ onSkip }) => backendOn(eureka.url, onSkip),
    register: (instance) => now(() => eureka.put(registration(instance))),
    deregister: (instance) => now(() => eureka.remove(instance.service, instance.id)),
    registerHostile: (service) => now(() => hostile(service).forEach((each) => eureka.put(each))),
    lose: () => eureka.stop(),
    freeze: () => now(() => (eureka.frozen = true)),
    restore: async () => {
      if (eureka.frozen) eureka.frozen = false;
      else await eureka.listen();
    },
    restartEmpty: () => now(() => eureka.forget()),
    refusedBackend: () => backendOn(strict.url, () => undefined),
    close: async () => {
      await eureka[Symbol.asyncDispose]();
      await strict[Symbol.asyncDispose]();
    },
  };
}

/** The suite restarts registries with what they had; a Eureka has it only in memory, so the path to it is what is lost. */
async function realHarness(): Promise<RegistryHarness> {
  const eureka = await EurekaServer.start();
  const proxy = await TcpProxy.to(eureka.port);
  let frozen = false;
  const base = `http://127.0.0.1:${proxy.port}`;
  return {
    backend: ({ onSkip }) => backendOn(`${base}/eureka`, onSkip),
    register: (instance) => eureka.register({ ...registration(instance) }),
    deregister: (instance) => eureka.call('DELETE', `apps/${instance.service.toUpperCase()}/${instance.id}`),
    registerHostile: async (service) => {
      for (const each of hostile(service)) await eureka.register({ ...each });
    },
    lose: () => {
      proxy.blackHole();
      return Promise.resolve();
    },
    freeze: () => {
      frozen = true;
      eureka.server.freeze();
      return Promise.resolve();
    },
    restore: () => {
      if (frozen) eureka.server.thaw();
      frozen = false;
      proxy.heal();
      return Promise.resolve();
    },
    restartEmpty: () => eureka.server.restartEmpty(),
    // The first page of errors costs a JVM on a busy machine seconds.
    refusedBackend: () => backendOn(`${base}/elsewhere`, () => undefined, true),
    close: async () => {
      await proxy[Symbol.asyncDispose]();
      await eureka[Symbol.asyncDispose]();
    },
  };
}

const traits: RegistryTraits = {
  carries: ['id', 'weight', 'zone', 'version', 'secure', 'state', 'metadata'],
  lacks: {},
  lossNames: { address: /http:\/\/127\.0\.0\.1:\d+/, setting: /registries\[\]\.urls/ },
  refusalNames: /registries\[\]\.urls/,
};

registryBackendContract('eureka, on a fixture', fixtureHarness, traits);

if (eurekaJar === undefined) {
  describe('a real Eureka server', () => {
    it.skip('keeps the registry contract (cannot be had: .ci/build-eureka.sh needs a JDK, Maven and its repository)', () =>
      undefined);
  });
} else {
  registryBackendContract('eureka, on Spring Cloud Netflix', realHarness, {
    ...traits,
    burst: 300,
    settleMs: 10_000,
    lossMs: 20_000,
  });
}
