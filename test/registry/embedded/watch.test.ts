import { type Socket, connect } from 'node:net';
import type { AddressInfo } from 'node:net';
import { serve } from '@hono/node-server';
import { describe, expect, it, vi } from 'vitest';
import { AddressPolicy } from '../../../src/core/address.ts';
import { type RegistryAppDeps, createRegistryApp } from '../../../src/registry/embedded/api/app.ts';
import type { EmbeddedRegistryOptions } from '../../../src/registry/embedded/options.ts';
import { type Opened, onCleanup, openRegistry, register } from './fixture.ts';

interface Watching extends Opened {
  /** Opens a watch; fails where it was refused. */
  readonly watch: (query?: string, headers?: Record<string, string>) => Promise<Events>;
  readonly app: ReturnType<typeof createRegistryApp>;
}

async function open(
  deps: Partial<RegistryAppDeps> = {},
  options: Partial<EmbeddedRegistryOptions> = {},
): Promise<Watching> {
  const opened = await openRegistry(options);
  const app = createRegistryApp({
    registry: opened.registry,
    clock: opened.clock,
    addresses: new AddressPolicy(),
    random: () => 0,
    log: () => undefined,
    ...deps,
  });
  const watch = async (query = '', headers: Record<string, string> = {}): Promise<Events> => {
    const response = await app.request(`/watch${query}`, { headers });
    expect(response.status).toBe(200);
    expect(response.headers.get('content-type')).toBe('text/event-stream');
    return new Events(response.body!);
  };
  return { ...opened, watch, app };
}

/** Reads server-sent events as a client does. */
class Events {
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>;
  #text = '';
  lastId: string | undefined;

  constructor(stream: ReadableStream<Uint8Array>) {
    this.#reader = stream.getReader();
    onCleanup(() => this.cancel());
  }

  /** The next event as `name data`, or a comment; undefined at the end. */
  async next(): Promise<string | undefined> {
    while (!this.#text.includes('\n\n')) {
      const { done, value } = await this.#reader.read();
      if (done) return undefined;
      this.#text += Buffer.from(value).toString();
    }
    const end = this.#text.indexOf('\n\n');
    const lines = this.#text.slice(0, end).split('\n');
    this.#text = this.#text.slice(end + 2);
    const of = (field: string): string | undefined =>
      lines.find((line) => line.startsWith(`${field}: `))?.slice(field.length + 2);
    this.lastId = of('id') ?? this.lastId;
    const event = of('event');
    return event === undefined
      ? lines.join('|')
      : `${event} ${brief(event, of('data') ?? '')}${of('id') === undefined ? '' : ' #'}`;
  }

  async take(count: number): Promise<(string | undefined)[]> {
    const events: (string | undefined)[] = [];
    for (let at = 0; at < count; at++) events.push(await this.next());
    return events;
  }

  /** Everything up to and with `synced`. */
  async opening(): Promise<(string | undefined)[]> {
    const events: (string | undefined)[] = [];
    do events.push(await this.next());
    while (events.at(-1) !== undefined && !events.at(-1)?.startsWith('synced'));
    return events;
  }

  cancel(): Promise<void> {
    return this.#reader.cancel();
  }
}

function brief(event: string, json: string): string {
  const data = JSON.parse(json) as {
    service: string;
    id: string;
    status: string;
    reason: string;
    index: number;
    instances: { id: string }[];
  };
  switch (event) {
    case 'reset':
      return `${data.service}=${data.instances.map((each) => each.id).join(',')}`;
    case 'upsert':
      return `${data.service}/${data.id} ${data.status}`;
    case 'remove':
      return `${data.service}/${data.id} ${data.reason}`;
    case 'absent':
      return data.service;
    default:
      return String(data.index);
  }
}

describe('GET /watch', () => {
  it('shows everything, says synced, then tells every change with its index', async () => {
    const { registry, watch, clock } = await open({}, { keepEmptyMs: 1000 });
    await register(registry, { id: 'a', ttlMs: 5000 });
    await register(registry, { service: 'api', id: 'b' });
    const events = await watch();
    expect(await events.opening()).toEqual(['reset web=a', 'reset api=b', 'synced 3 #']);
    await register(registry, { service: 'new', id: 'c' });
    await registry.deregister('b');
    clock.advance(5100);
    expect(await events.take(4)).toEqual([
      'upsert new/c up #',
      'remove api/b deregistered #',
      'absent api #',
      'upsert web/a down #',
    ]);
    expect(events.lastId).toBe(String(registry.index));
  });

  it('keeps to the services asked for, known or not', async () => {
    const { registry, watch } = await open();
    await register(registry, { service: 'a', id: 'a' });
    await register(registry, { service: 'b', id: 'b' });
    const events = await watch('?service=b,c&service=d');
    expect(await events.opening()).toEqual(['reset b=b', 'absent c', 'absent d', 'synced 3 #']);
    await register(registry, { service: 'a', id: 'a2', port: 81 });
    await register(registry, { service: 'd', id: 'd' });
    expect(await events.next()).toBe('upsert d/d up #');
  });

  it('goes on where a client that comes back had stopped', async () => {
    const { registry, watch } = await open({}, { history: 10 });
    await register(registry, { id: 'a' });
    const first = await watch();
    await first.opening();
    const lastId = first.lastId ?? '';
    await first.cancel();
    await register(registry, { id: 'b', port: 81 });
    await register(registry, { service: 'other', id: 'c' });
    await registry.deregister('a');
    const headers = { 'last-event-id': lastId };
    expect(await (await watch('', headers)).opening()).toEqual([
      'upsert web/b up',
      'upsert other/c up',
      'remove web/a deregistered',
      'synced 5 #',
    ]);
    expect(await (await watch('?service=web', headers)).opening()).toEqual([
      'upsert web/b up',
      'remove web/a deregistered',
      'synced 5 #',
    ]);
    expect(await (await watch('', { 'last-event-id': '5' })).opening()).toEqual(['synced 5 #']);
  });

  it.each([
    ['too old', '1'],
    ['of another life', '99999'],
    ['no index', 'abc'],
    ['negative', '-1'],
  ])('starts over for a client whose last id is %s', async (_, lastId) => {
    const { registry, watch } = await open({}, { history: 2 });
    for (let port = 1; port < 5; port++) await register(registry, { id: `i${port}`, port });
    expect(await (await watch('', { 'last-event-id': lastId })).opening()).toEqual([
      'reset web=i1,i2,i3,i4',
      'synced 5 #',
    ]);
  });

  it('gives no id before synced, so that a client cut off on the way starts over', async () => {
    const { registry, watch } = await open();
    await register(registry, { service: 'a', id: 'a' });
    await register(registry, { service: 'b', id: 'b' });
    const events = await watch();
    expect(await events.next()).toBe('reset a=a');
    await registry.deregister('a');
    expect(await events.next()).toBe('remove a/a deregistered');
    expect(events.lastId).toBeUndefined();
  });

  it('shows a service that changes before its turn as it is then, once', async () => {
    const { registry, watch } = await open();
    for (const service of ['a', 'b', 'c']) await register(registry, { service, id: service });
    const events = await watch();
    expect(await events.next()).toBe('reset a=a');
    await register(registry, { service: 'b', id: 'b2', port: 81 });
    await registry.deregister('c');
    await register(registry, { service: 'd', id: 'd' });
    expect(await events.opening()).toEqual(['upsert d/d up', 'reset b=b,b2', 'reset c=', 'synced 7 #']);
  });

  it('shows a large service piece by piece, and never older news after newer', async () => {
    const { registry, watch } = await open();
    await Promise.all(Array.from({ length: 1200 }, (_, at) => register(registry, { id: `i${at}`, port: at + 1 })));
    const events = await watch();
    expect((await events.next())?.split(',')).toHaveLength(500);
    await registry.deregister('i1100');
    await register(registry, { id: 'i1150', port: 1151, weight: 7 });
    const rest = await events.opening();
    expect(rest.slice(0, 2)).toEqual(['remove web/i1100 deregistered', 'upsert web/i1150 up']);
    expect(rest).toHaveLength(2 + 699 + 1);
    expect(rest.slice(2)).not.toContain('upsert web/i1100 up');
  });

  it('carries the word of the gateway, and tells when it changes', async () => {
    let status = 'starting';
    const { registry, watch } = await open({ statusOf: () => ({ status, healthy: false, reason: undefined }) });
    await register(registry, { id: 'a' });
    const events = await watch();
    await events.opening();
    status = 'up';
    registry.statusChanged({ service: 'web', id: 'a' });
    expect(await events.next()).toBe('upsert web/a up #');
  });

  it('is kept alive by one timer for all, which ends with the last watcher', async () => {
    const { watch, clock } = await open({ keepAliveMs: 15_000 });
    const watchers = await Promise.all([watch(), watch()]);
    for (const events of watchers) await events.opening();
    const waiting = watchers.map((events) => events.next());
    await new Promise((resolve) => setImmediate(resolve));
    expect(clock.pending).toBe(1);
    clock.advance(15_000);
    expect(await Promise.all(waiting)).toEqual([': keep-alive', ': keep-alive']);
    await Promise.all(watchers.map((events) => events.cancel()));
    clock.advance(15_000);
    expect(clock.pending).toBe(0);
  });

  it('is refused when there are too many, and free again when one leaves', async () => {
    const { app, watch } = await open({ watchers: 1 });
    const events = await watch();
    expect((await app.request('/watch')).status).toBe(503);
    await events.cancel();
    await watch();
  });

  it('opens nothing for a HEAD request', async () => {
    const { app, watch } = await open({ watchers: 1 });
    for (let at = 0; at < 3; at++) expect((await app.request('/watch', { method: 'HEAD' })).status).toBe(200);
    await watch();
  });

  it('ends when the registry closes, after what was still to be told', async () => {
    const { registry, watch } = await open();
    const events = await watch();
    await events.opening();
    await register(registry, { id: 'a' });
    await registry.close();
    expect(await events.take(2)).toEqual(['upsert web/a up #', undefined]);
  });
});

describe('a watcher on a real connection', () => {
  const start = async (
    deps: Partial<RegistryAppDeps>,
  ): Promise<Watching & { port: number; dial: (path?: string) => Socket }> => {
    const opened = await open(deps);
    const server = serve({ fetch: opened.app.fetch, port: 0, hostname: '127.0.0.1' });
    onCleanup(
      () =>
        new Promise(
          (resolve) =>
            void server.close(() => {
              resolve();
            }),
        ),
    );
    await new Promise((resolve) => server.once('listening', resolve));
    const { port } = server.address() as AddressInfo;
    const dial = (path = '/watch'): Socket => {
      const socket = connect(port, '127.0.0.1');
      onCleanup(() => void socket.destroy());
      socket.on('error', () => undefined);
      socket.write(`GET ${path} HTTP/1.1\r\nHost: registry\r\n\r\n`);
      return socket;
    };
    return { ...opened, port, dial };
  };
  const text = (socket: Socket): { all: string } => {
    const read = { all: '' };
    socket.on('data', (chunk: Buffer) => (read.all += chunk.toString()));
    return read;
  };

  it('hears of a change at once', async () => {
    const { registry, dial } = await start({});
    const read = text(dial());
    await expect.poll(() => read.all).toContain('event: synced');
    await register(registry, { id: 'a' });
    await expect.poll(() => read.all).toContain('event: upsert\nid: 2\ndata: {"id":"a"');
  });

  it('that does not read is cut off, and costs no more than its buffer', async () => {
    const { registry, dial } = await start({ watchers: 1, watchBufferBytes: 100_000 });
    // It happens every day: nothing for the standard error stream.
    const complaints = vi.spyOn(console, 'error');
    onCleanup(() => {
      complaints.mockRestore();
    });
    const socket = dial();
    const read = text(socket);
    await expect.poll(() => read.all).toContain('event: synced');
    socket.pause();
    const closed = new Promise((resolve) => socket.once('close', resolve));
    const metadata = new Map([['filler', 'x'.repeat(4000)]]);
    for (let at = 0; at < 40; at++) {
      await Promise.all(
        Array.from({ length: 200 }, (_, port) =>
          register(registry, { id: `i${port}`, port: port + 1, weight: at + 1, metadata }),
        ),
      );
    }
    // Its place is free again, although it never read to the end.
    const next = text(dial('/watch?service=nobody'));
    await expect.poll(() => next.all).toContain('event: synced');
    socket.resume();
    await closed;
    expect(complaints).not.toHaveBeenCalled();
  });

  it('that goes away is forgotten', async () => {
    const { dial, watch } = await start({ watchers: 1 });
    const socket = dial();
    const read = text(socket);
    await expect.poll(() => read.all).toContain('event: synced');
    socket.destroy();
    await expect
      .poll(
        async () =>
          (
            await watch('?service=x').then(
              (events) => events.opening(),
              () => [],
            )
          ).length,
      )
      .toBe(2);
  });

  it('and a blocking query whose client goes away leave nothing behind', async () => {
    const { dial, registry } = await start({});
    await register(registry, { id: 'a' });
    const socket = dial(`/services/web/instances?index=${registry.index}`);
    await expect.poll(() => registry.figures.waiters).toBe(1);
    socket.destroy();
    await expect.poll(() => registry.figures.waiters).toBe(0);
  });
});
