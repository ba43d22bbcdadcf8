import { describe, expect, it } from 'vitest';
import type { RegistryEvent } from '../../../src/registry/backend.ts';
import { EmbeddedBackend } from '../../../src/registry/embedded/backend.ts';
import { registryBackendContract } from '../../contract/registry-backend.ts';
import { openRegistry, register, request } from './fixture.ts';

registryBackendContract(
  'the embedded registry',
  async () => {
    const { EmbeddedRegistry } = await import('../../../src/registry/embedded/registry.ts');
    const { ManualClock } = await import('../../../src/core/clock.ts');
    const registry = await EmbeddedRegistry.open({
      dataDir: undefined,
      owner: { pid: process.pid, isAlive: () => true },
      clock: new ManualClock(),
      log: () => undefined,
    });
    return {
      backend: () => new EmbeddedBackend(registry),
      register: async (wanted) => {
        const result = await registry.register({
          instance: wanted,
          id: wanted.id,
          ttlMs: undefined,
          idScope: 'service',
        });
        expect(result.kind).toBe('registered');
      },
      deregister: async ({ id, service }) => {
        await registry.deregister(id, service);
      },
      close: () => registry.close(),
    };
  },
  {
    carries: ['id', 'weight', 'zone', 'version', 'secure', 'state', 'metadata'],
    lacks: {
      hostile: 'the API refuses what is hostile before it is registered',
      loss: 'it is part of this process',
      'half-open': 'it is part of this process',
      'restart-empty': 'it is part of this process',
      refusal: 'it is part of this process',
    },
  },
);

const brief = (event: RegistryEvent): string => {
  switch (event.kind) {
    case 'reset':
      return `reset ${event.service}=${event.instances.map((each) => each.id).join(',')}`;
    case 'upsert':
      return `upsert ${event.instance.service}/${event.instance.id} ${event.instance.host} ${event.instance.state}`;
    case 'remove':
      return `remove ${event.service}/${event.id}`;
    case 'absent':
      return `absent ${event.service}`;
    case 'synced':
      return `synced ${event.revision}`;
  }
};

describe('EmbeddedBackend', () => {
  it('tells of missed heartbeats as of any other change, and not of what the gateway itself said', async () => {
    const { registry, clock } = await openRegistry({ keepEmptyMs: 1000 });
    const events = new EmbeddedBackend(registry).watch({ kind: 'all' }, new AbortController().signal);
    const next = async (): Promise<string> => {
      const { value } = await events.next();
      return value ? brief(value) : 'end';
    };
    expect(await next()).toBe('synced 1');
    await register(registry, { id: 'a', ttlMs: 5000 });
    expect(await next()).toBe('upsert web/a 10.0.0.1 up');
    registry.statusChanged({ service: 'web', id: 'a' });
    clock.advance(5100);
    expect(await next()).toBe('upsert web/a 10.0.0.1 down');
    await registry.deregister('a');
    expect(await next()).toBe('remove web/a');
    clock.advance(1000);
    expect(await next()).toBe('absent web');
    await registry.close();
    await expect(events.next()).rejects.toThrow('the embedded registry is closed');
  });

  it('tells who was taken back from who has run out', async () => {
    const { registry, clock } = await openRegistry();
    const events = new EmbeddedBackend(registry).watch({ kind: 'all' }, new AbortController().signal);
    const removals: string[] = [];
    const until = async (id: string): Promise<void> => {
      for await (const event of { [Symbol.asyncIterator]: () => ({ next: () => events.next() }) }) {
        if (event.kind !== 'remove') continue;
        removals.push(`${event.id} ${event.deliberate}`);
        if (event.id === id) return;
      }
    };
    await register(registry, { id: 'a', ttlMs: 5000 });
    await register(registry, { id: 'b', port: 81 });
    await register(registry, { id: 'c', port: 82 });
    const told = until('d');
    await registry.deregister('b');
    // Another id at its address takes its place.
    await register(registry, { id: 'd', port: 82 });
    await registry.deregister('d', 'web', 'expired');
    await told;
    clock.advance(60_000);
    await until('a');
    expect(removals).toEqual(['b true', 'c true', 'd false', 'a false']);
    await events.return();
  });

  it('keeps one pending event per instance for a consumer that is slow, the newest, in order', async () => {
    const { registry } = await openRegistry();
    await register(registry, { id: 'b', port: 81 });
    const events = new EmbeddedBackend(registry).watch(
      { kind: 'services', names: new Set(['web']) },
      new AbortController().signal,
    );
    const next = async (): Promise<string> => brief((await events.next()).value as RegistryEvent);
    expect(await next()).toBe('reset web=b');
    for (let at = 1; at < 50; at++) await register(registry, { id: 'a', host: `10.0.0.${at}` });
    await registry.deregister('b');
    await register(registry, { service: 'other' });
    await register(registry, { id: 'c', port: 82 });
    expect([await next(), await next(), await next(), await next()]).toEqual([
      'synced 2',
      'upsert web/a 10.0.0.49 up',
      'remove web/b',
      'upsert web/c 10.0.0.1 up',
    ]);
    await events.return();
  });

  it('does not let an older end of a service overtake its new beginning', async () => {
    const { registry } = await openRegistry({ keepEmptyMs: 0 });
    await register(registry, { id: 'a' });
    const events = new EmbeddedBackend(registry).watch({ kind: 'all' }, new AbortController().signal);
    const next = async (): Promise<string> => brief((await events.next()).value as RegistryEvent);
    expect([await next(), await next()]).toEqual(['reset web=a', 'synced 2']);
    await registry.deregister('a');
    await register(registry, { id: 'a', host: '10.0.0.2' });
    expect([await next(), await next()]).toEqual(['absent web', 'upsert web/a 10.0.0.2 up']);
    await events.return();
  });

  it('says what it is', async () => {
    const { registry } = await openRegistry();
    const backend = new EmbeddedBackend(registry, '127.0.0.1:8761');
    await registry.register(request());
    expect(backend.type).toBe('embedded');
    expect(backend.info()).toEqual({ endpoint: '127.0.0.1:8761', leader: undefined, revision: '2' });
    await registry.close();
    await expect(backend.list({ kind: 'all' }, new AbortController().signal)).rejects.toThrow('closed');
  });
});
