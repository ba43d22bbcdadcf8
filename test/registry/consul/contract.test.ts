import { describe, it } from 'vitest';
import { systemClock } from '../../../src/core/clock.ts';
import type { Instance } from '../../../src/core/instance.ts';
import { seededRandom } from '../../../src/core/random.ts';
import type { OnSkip, RegistryBackend } from '../../../src/registry/backend.ts';
import { ConsulBackend, type ConsulOptions } from '../../../src/registry/consul/consul-backend.ts';
import { registryBackendContract, type RegistryHarness } from '../../contract/registry-backend.ts';
import { consulBinary, ConsulServer, type ConsulRegistration } from '../../servers/consul.ts';

async function harness(): Promise<RegistryHarness> {
  const consul = await ConsulServer.start();
  const strict = await ConsulServer.start({ acl: true });
  let frozen = false;
  const backend = (options: Partial<ConsulOptions> & { onSkip: OnSkip }): RegistryBackend => {
    const deadlines = { connectMs: 2000, requestMs: 3000, heartbeatMs: 1000 };
    const given = { clock: systemClock, random: seededRandom(1) };
    return new ConsulBackend({ name: 'main', addresses: [consul.url], ...deadlines, ...given, ...options });
  };
  return {
    backend,
    register: (instance) => consul.register(registrationOf(instance)),
    deregister: (instance) => consul.deregister(agentId(instance)),
    applyAll: (changes) =>
      consul.apply(
        changes.map(({ kind, instance }) =>
          kind === 'register' ? registrationOf(instance) : { deregister: agentId(instance) },
        ),
      ),
    registerHostile: async (service) => {
      await consul.register({ ID: `${service}-port`, Name: service, Address: '10.0.0.1', Port: 0 });
      await consul.register({ ID: `${service}-host`, Name: service, Address: 'a b', Port: 80 });
    },
    lose: () => consul.server.kill(),
    freeze: () => {
      frozen = true;
      consul.server.freeze();
      return Promise.resolve();
    },
    restore: async () => {
      if (frozen) consul.server.thaw();
      else await consul.server.start();
      frozen = false;
    },
    restartEmpty: () => consul.server.restartEmpty(),
    refusedBackend: () =>
      backend({ addresses: [strict.url], token: '00000000-0000-4000-8000-00000000000f', onSkip: () => undefined }),
    close: async () => {
      await consul[Symbol.asyncDispose]();
      await strict[Symbol.asyncDispose]();
    },
  };
}

/** Ids are unique on an agent, not in a service. */
function agentId({ service, id }: Instance): string {
  return `${service}.${id}`;
}

function registrationOf(instance: Instance): ConsulRegistration {
  const { service, host, port, weight, zone, version, secure, state, metadata } = instance;
  const meta = {
    ...Object.fromEntries(metadata),
    ...(zone === undefined ? {} : { zone }),
    ...(version === undefined ? {} : { version }),
    ...(secure ? { secure: 'true' } : {}),
  };
  const status = state === 'up' ? 'passing' : state === 'degraded' ? 'warning' : 'critical';
  return {
    ID: agentId(instance),
    Name: service,
    Address: host,
    Port: port,
    Meta: meta,
    Weights: { Passing: weight, Warning: 1 },
    Checks: [{ CheckID: `${agentId(instance)}-check`, TTL: '1h', Status: status }],
  };
}

if (consulBinary === undefined) {
  describe('consul', () => it.skip('no consul binary here: run .ci/install-consul.sh', () => undefined));
} else {
  registryBackendContract('consul', harness, {
    carries: ['weight', 'zone', 'version', 'secure', 'state', 'metadata'],
    lacks: {},
    lossNames: { address: /http:\/\/127\.0\.0\.1:\d+/, setting: /registries\[\]\.address/ },
    refusalNames: /registries\[\]\.token/,
    halfOpenMs: 10_000,
    lossMs: 10_000,
  });
}
