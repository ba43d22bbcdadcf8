import { describe, expect, it } from 'vitest';
import type { Change } from '../../../src/registry/embedded/changes.ts';
import type { EmbeddedRegistry } from '../../../src/registry/embedded/registry.ts';
import { contents, openRegistry, register, request } from './fixture.ts';

const changesOf = (registry: EmbeddedRegistry): Change[] => {
  const changes: Change[] = [];
  registry.subscribe((change) => changes.push(change));
  return changes;
};
const brief = (changes: readonly Change[]): string[] =>
  changes.map((change) => {
    switch (change.kind) {
      case 'upsert':
        return `upsert ${change.instance.service}/${change.instance.id} ${change.instance.host} ${change.instance.state} ${change.cause}`;
      case 'remove':
        return `remove ${change.instance.service}/${change.instance.id} ${change.reason}`;
      case 'absent':
        return `absent ${change.service}`;
    }
  });

describe('registering', () => {
  it('makes a readable id of the address, the same for the same address', async () => {
    const { registry } = await openRegistry();
    expect(await register(registry)).toBe('web-10.0.0.1-80');
    expect(await register(registry, { weight: 5 })).toBe('web-10.0.0.1-80');
    expect(await register(registry, { host: '2001:db8::7', port: 8443 })).toBe('web-2001-db8--7-8443');
    expect(await register(registry, { service: 'api' })).toBe('api-10.0.0.1-80');
    expect(contents(registry)).toEqual([
      'api/api-10.0.0.1-80 10.0.0.1:80 1 -',
      'web/web-10.0.0.1-80 10.0.0.1:80 5 -',
      'web/web-2001-db8--7-8443 [2001:db8::7]:8443 1 -',
    ]);
  });

  it('finds another id where the readable one is taken or too long', async () => {
    const { registry } = await openRegistry();
    await register(registry, { host: '10.0.0.9', id: 'web-10.0.0.1-80' });
    expect(await register(registry)).toMatch(/^web-10\.0\.0\.1-80-[0-9a-f]{12}$/);
    expect(await register(registry)).toMatch(/^web-10\.0\.0\.1-80-[0-9a-f]{12}$/);
    const long = await register(registry, { service: 's'.repeat(128), host: `${'h'.repeat(60)}.example` });
    expect(long).toMatch(/^s{100}-[0-9a-f]{12}$/);
    expect(await register(registry, { service: 'a-b', host: 'c' })).toBe('a-b-c-80');
    expect(await register(registry, { service: 'a', host: 'b-c' })).toMatch(/^a-b-c-80-[0-9a-f]{12}$/);
  });

  it('honours an id, and replaces what had the id or the address before', async () => {
    const { registry } = await openRegistry();
    const changes = changesOf(registry);
    await register(registry, { id: 'one' });
    const moved = await registry.register(request({ id: 'one', host: '10.0.0.2' }));
    expect(moved).toMatchObject({ created: false, replaced: [{ id: 'one', host: '10.0.0.1' }] });
    const renamed = await registry.register(request({ id: 'two', host: '10.0.0.2' }));
    expect(renamed).toMatchObject({ created: false, replaced: [{ id: 'one', host: '10.0.0.2' }] });
    expect(contents(registry)).toEqual(['web/two 10.0.0.2:80 1 -']);
    expect(brief(changes)).toEqual([
      'upsert web/one 10.0.0.1 up registered',
      'upsert web/one 10.0.0.2 up registered',
      'remove web/one replaced',
      'upsert web/two 10.0.0.2 up registered',
    ]);
  });

  it('replaces two at once when the id is of one and the address of another', async () => {
    const { registry } = await openRegistry();
    await register(registry, { id: 'one', host: '10.0.0.1' });
    await register(registry, { id: 'two', host: '10.0.0.2' });
    const result = await registry.register(request({ id: 'one', host: '10.0.0.2' }));
    expect(result).toMatchObject({
      replaced: [
        { id: 'two', host: '10.0.0.2' },
        { id: 'one', host: '10.0.0.1' },
      ],
    });
    expect(contents(registry)).toEqual(['web/one 10.0.0.2:80 1 -']);
    expect(await register(registry, { host: '10.0.0.1' })).toBe('web-10.0.0.1-80');
  });

  it('tells what changed, and nothing where nothing did', async () => {
    const { registry } = await openRegistry();
    await register(registry);
    const changes = changesOf(registry);
    const before = registry.index;
    await register(registry);
    expect(registry.index).toBe(before);
    await register(registry, { weight: 2 });
    await register(registry, { weight: 2, metadata: new Map([['a', 'b']]) });
    await register(registry, { weight: 2, metadata: new Map([['a', 'b']]) });
    expect(changes).toHaveLength(2);
    expect(registry.index).toBe(before + 2);
  });

  it('refuses an id of another service only where ids must be unique in the registry', async () => {
    const { registry } = await openRegistry();
    await register(registry, { service: 'api', id: 'one' });
    expect(await registry.register(request({ id: 'one', idScope: 'registry' }))).toEqual({
      kind: 'conflict',
      id: 'one',
      service: 'api',
    });
    expect(await register(registry, { id: 'one', idScope: 'service' })).toBe('one');
    expect(contents(registry)).toHaveLength(2);
    // Once it is there, it may be registered again.
    expect(await register(registry, { id: 'one', weight: 3, idScope: 'registry' })).toBe('one');
  });

  it('needs the service where several use an id', async () => {
    const { registry } = await openRegistry();
    await register(registry, { service: 'api', id: 'one' });
    await register(registry, { service: 'web', id: 'one' });
    expect(registry.heartbeat('one')).toEqual({ kind: 'ambiguous', services: ['api', 'web'] });
    expect(await registry.deregister('one')).toEqual({ kind: 'ambiguous', services: ['api', 'web'] });
    expect(registry.heartbeat('one', 'web').kind).toBe('renewed');
    expect((await registry.deregister('one', 'api')).kind).toBe('removed');
    expect(registry.heartbeat('one').kind).toBe('renewed');
    expect(registry.heartbeat('one', 'api')).toEqual({ kind: 'unknown' });
  });

  it('decides operations that arrive together in their order', async () => {
    const { registry } = await openRegistry();
    const results = await Promise.all([
      registry.register(request({ id: 'a' })),
      registry.register(request({})),
      registry.deregister('a'),
      registry.deregister('a'),
      registry.register(request({})),
      registry.register(request({ id: 'b' })),
      registry.register(request({ id: 'b' })),
      registry.register(request({ id: 'b', service: 'api', idScope: 'registry' })),
    ]);
    expect(results.map((result) => (result.kind === 'registered' ? result.entry.instance.id : result.kind))).toEqual([
      'a',
      'a',
      'removed',
      'unknown',
      'web-10.0.0.1-80',
      'b',
      'b',
      'conflict',
    ]);
    expect(contents(registry)).toEqual(['web/b 10.0.0.1:80 1 -']);
  });

  it('shares one sync among registrations that arrive together', async () => {
    const { registry } = await openRegistry();
    const { appends } = registry.figures;
    await Promise.all(Array.from({ length: 200 }, (_, port) => register(registry, { port: port + 1 })));
    expect(registry.figures.appends).toBe(appends + 1);
    expect(registry.figures.instances).toBe(200);
  });

  it('keeps to its limits', async () => {
    const { registry } = await openRegistry({ limits: { instances: 3, services: 2 } });
    await register(registry, { service: 'a' });
    await register(registry, { service: 'b' });
    expect(await registry.register(request({ service: 'c' }))).toEqual({ kind: 'full', what: 'services', limit: 2 });
    await register(registry, { service: 'b', port: 81 });
    expect(await registry.register(request({ service: 'b', port: 82 }))).toEqual({
      kind: 'full',
      what: 'instances',
      limit: 3,
    });
    expect(await register(registry, { service: 'b', port: 81, weight: 2 })).toBe('b-10.0.0.1-81');
    expect(await register(registry, { service: 'b', port: 81, id: 'other' })).toBe('other');
    await registry.deregister('other');
    await registry.deregister('a-10.0.0.1-80');
    expect(await register(registry, { service: 'c' })).toBe('c-10.0.0.1-80');
  });

  it('works without a directory, for as long as it runs', async () => {
    const { registry } = await openRegistry({ dataDir: undefined });
    await register(registry);
    expect(registry.figures).toMatchObject({ instances: 1, bytes: 0 });
    await registry.close();
    expect(await registry.register(request())).toMatchObject({ kind: 'unavailable' });
  });
});

describe('the index', () => {
  it('begins at 1 and counts every change, of the registry and of each service', async () => {
    const { registry } = await openRegistry();
    expect(registry.index).toBe(1);
    expect(registry.indexOf('nobody')).toBe(1);
    await register(registry, { service: 'a' });
    await register(registry, { service: 'b' });
    expect([registry.index, registry.indexOf('a'), registry.indexOf('b')]).toEqual([3, 2, 3]);
    await registry.deregister('a-10.0.0.1-80');
    expect([registry.index, registry.indexOf('a'), registry.indexOf('b')]).toEqual([4, 4, 3]);
  });

  it('goes on above every index that was ever told, over restarts too', async () => {
    const { registry, dataDir, clock } = await openRegistry();
    await register(registry, { ttlMs: 1000 });
    // Lease changes count, and are written nowhere.
    for (let round = 0; round < 50; round++) {
      clock.advance(1100);
      registry.heartbeat('web-10.0.0.1-80');
    }
    const before = registry.index;
    expect(before).toBeGreaterThan(100);
    await registry.close();
    for (let life = 0; life < 3; life++) {
      const { registry: next } = await openRegistry({ dataDir });
      expect(next.index).toBeGreaterThan(before);
      // Whoever waits with an index of the earlier life must look again.
      expect(next.indexOf('web')).toBe(next.index);
      expect(next.indexOf('nobody')).toBe(next.index);
      await next.close();
    }
  });

  it('changes with the word of the gateway, for those who wait', async () => {
    const { registry } = await openRegistry();
    await register(registry);
    const changes = changesOf(registry);
    const before = registry.indexOf('web');
    registry.statusChanged({ service: 'web', id: 'web-10.0.0.1-80' });
    registry.statusChanged({ service: 'web', id: 'unknown' });
    expect(registry.indexOf('web')).toBe(before + 1);
    expect(brief(changes)).toEqual(['upsert web/web-10.0.0.1-80 10.0.0.1 up status']);
  });

  it('remembers the last changes, and says when it does not remember', async () => {
    const { registry } = await openRegistry({ history: 3 });
    const start = registry.index;
    expect(registry.since(start)).toEqual([]);
    expect(registry.since(start - 1)).toBeUndefined();
    for (let port = 1; port <= 5; port++) await register(registry, { port });
    expect(registry.since(registry.index)).toEqual([]);
    expect(registry.since(registry.index - 3)?.map((change) => change.index)).toEqual([4, 5, 6]);
    expect(registry.since(registry.index - 4)).toBeUndefined();
    expect(registry.since(registry.index + 1)).toBeUndefined();
  });

  it('survives a listener that fails', async () => {
    const { registry, lines } = await openRegistry();
    registry.subscribe(() => {
      throw new Error('listener');
    });
    const changes = changesOf(registry);
    await register(registry);
    expect(changes).toHaveLength(1);
    expect(lines).toMatchObject([{ level: 'error', fields: { reason: 'listener' } }]);
  });
});

describe('a service without instances', () => {
  it('stays known for a while, then is absent', async () => {
    const { registry, clock } = await openRegistry({ keepEmptyMs: 60_000 });
    const changes = changesOf(registry);
    await register(registry, { id: 'one' });
    await registry.deregister('one');
    expect(registry.services.get('web')?.entries.size).toBe(0);
    clock.advance(59_999);
    expect(registry.services.has('web')).toBe(true);
    clock.advance(1);
    expect(registry.services.has('web')).toBe(false);
    expect(brief(changes).at(-1)).toBe('absent web');
    expect(registry.indexOf('web')).toBe(registry.index);
  });

  it('is not forgotten when an instance came back', async () => {
    const { registry, clock } = await openRegistry({ keepEmptyMs: 60_000 });
    await register(registry, { id: 'one' });
    await registry.deregister('one');
    clock.advance(30_000);
    await register(registry, { id: 'one' });
    clock.advance(120_000);
    expect(contents(registry)).toEqual(['web/one 10.0.0.1:80 1 -']);
    await registry.deregister('one');
    clock.advance(30_000);
    expect(registry.services.has('web')).toBe(true);
    clock.advance(30_000);
    expect(registry.services.has('web')).toBe(false);
  });

  it('is forgotten at once where nothing is to be kept, and the oldest go first when there are very many', async () => {
    const { registry } = await openRegistry({ keepEmptyMs: 0 });
    await register(registry, { id: 'one' });
    await registry.deregister('one');
    expect(registry.services.size).toBe(0);

    const { registry: full } = await openRegistry();
    for (let batch = 0; batch < 11; batch++) {
      const names = Array.from({ length: 100 }, (_, at) => `s${batch}-${at}`);
      await Promise.all(names.map((service) => register(full, { service, id: service })));
      await Promise.all(names.map((id) => full.deregister(id)));
    }
    expect(full.services.size).toBe(1000);
    expect(full.services.has('s0-0')).toBe(false);
    expect(full.services.has('s10-99')).toBe(true);
  });
});

describe('closing', () => {
  it('ends waits, refuses what comes later, and can be repeated', async () => {
    const { registry } = await openRegistry();
    const waiting = registry.nextChange('web', 1000, new AbortController().signal);
    await Promise.all([registry.close(), registry.close()]);
    await waiting;
    expect(registry.closing.aborted).toBe(true);
    expect(await registry.register(request())).toEqual({ kind: 'unavailable', why: 'the registry is closing' });
    expect(await registry.deregister('x')).toMatchObject({ kind: 'unavailable' });
  });

  it('writes what was being written, and refuses what still waited', async () => {
    const { registry, dataDir } = await openRegistry();
    const early = registry.register(request({ id: 'early' }));
    await Promise.resolve();
    await Promise.resolve();
    const late = registry.register(request({ id: 'late', port: 81 }));
    await registry.close();
    expect((await early).kind).toBe('registered');
    expect((await late).kind).toBe('unavailable');
    const { registry: next } = await openRegistry({ dataDir });
    expect(contents(next)).toEqual(['web/early 10.0.0.1:80 1 -']);
  });
});
