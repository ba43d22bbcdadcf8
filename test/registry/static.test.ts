import { expect, it } from 'vitest';
import { type Instance, instance } from '../../src/core/instance.ts';
import { StaticBackend } from '../../src/registry/static/static-backend.ts';
import { Observation } from '../contract/observation.ts';
import { registryBackendContract, type RegistryHarness } from '../contract/registry-backend.ts';

/** Registering is writing the configuration: the next backend reads it. */
function staticHarness(): RegistryHarness {
  const services = new Map<string, Instance[]>();
  const without = (gone: Instance): Instance[] =>
    (services.get(gone.service) ?? []).filter((each) => each.id !== gone.id);
  return {
    backend: () => new StaticBackend({ services: new Map(services) }),
    register: (wanted) => {
      services.set(wanted.service, [...without(wanted), wanted]);
      return Promise.resolve();
    },
    deregister: (gone) => {
      services.set(gone.service, without(gone));
      return Promise.resolve();
    },
    close: () => Promise.resolve(),
  };
}

registryBackendContract('static', () => Promise.resolve(staticHarness()), {
  carries: ['id', 'weight', 'zone', 'version', 'secure', 'state', 'metadata'],
  lacks: {
    change: 'the list is part of the configuration; a reload makes a new backend',
    hostile: 'the configuration is validated as a whole before a backend is made',
    loss: 'an inline list cannot be lost',
    'half-open': 'there is no connection',
    'restart-empty': 'there is nothing to restart',
    refusal: 'nobody is asked',
  },
});

it('says nothing more once the list is told, however long it is watched', async () => {
  const web = instance({ service: 'web', id: 'a', host: '10.0.0.7', port: 80 });
  const backend = new StaticBackend({
    services: new Map([
      ['web', [web]],
      ['empty', []],
    ]),
  });
  const watch = await new Observation(backend, { kind: 'all' }).synced(1000);
  await new Promise((resolve) => setTimeout(resolve, 20));
  expect(watch.counts).toEqual({ reset: 2, upsert: 0, remove: 0, absent: 0, synced: 1 });
  expect(watch.table.get('empty')?.size).toBe(0);
  await watch.stop();
});
