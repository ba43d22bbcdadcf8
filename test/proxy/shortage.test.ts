import { lookup } from 'node:dns';
import net from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { AddressPolicy } from '../../src/core/address.ts';
import { systemClock } from '../../src/core/clock.ts';
import { SocketBudget } from '../../src/core/socket-budget.ts';
import { TimingWheel } from '../../src/core/wheel.ts';
import { Proxy } from '../../src/proxy/proxy.ts';
import { type Connect, connector } from '../../src/upstream/connect.ts';
import { Pool } from '../../src/upstream/pool.ts';
import { answering, OK, Origin, RawClient, TestGateway } from './harness.ts';

const limits = { headBytes: 32_768, headFields: 100, targetBytes: 8192 };
const wheel = new TimingWheel({ clock: systemClock, tickMs: 10, slots: 256 });
const direct = connector({ addresses: new AddressPolicy({ allowLoopback: true }), lookup });
/** 104 sockets for clients and instances together. */
const OPEN_FILES = 192;
const MOST = 104;

const stops: (() => unknown)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0).reverse()) await stop();
});

interface Scene {
  readonly gateway: TestGateway;
  readonly sockets: SocketBudget;
  readonly proxy: Proxy;
  readonly pool: Pool;
  readonly origin: Origin;
  readonly port: number;
}

async function scene(
  options: { plainSockets?: boolean; maxConnections?: number; connect?: Connect } = {},
): Promise<Scene> {
  const origin = await Origin.start(answering(OK));
  const gateway = await TestGateway.start([origin.port]);
  const sockets = new SocketBudget({ openFiles: OPEN_FILES });
  const pool = new Pool({
    clock: systemClock,
    wheel,
    connect: options.connect ?? direct,
    limits,
    idleMs: 4000,
    sockets,
  });
  const proxy = new Proxy({
    context: { ...gateway.context, pool, sockets },
    connection: {
      clock: systemClock,
      wheel,
      limits,
      requestHeadMs: 2000,
      keepAliveMs: 5000,
      bodyIdleMs: 5000,
      bodyMinBytesPerSecond: 240,
      bodyGraceMs: 2000,
    },
    maxConnections: options.maxConnections ?? 1000,
    plainSockets: options.plainSockets ?? false,
    onAcceptError: () => undefined,
  });
  const { port } = await proxy.listen('127.0.0.1', 0);
  stops.push(() => origin.stop());
  stops.push(() => {
    gateway.stop();
    proxy.close();
  });
  return { gateway, sockets, proxy, pool, origin, port };
}

async function client(port: number): Promise<RawClient> {
  const made = await RawClient.connect(port);
  stops.push(() => {
    made.destroy();
  });
  return made;
}

/** How a connection ends on which nothing is sent: while it is made, or after. */
function turnedAway(port: number): Promise<string | undefined> {
  return new Promise((resolve) => {
    const socket = net.connect(port, '127.0.0.1');
    socket.once('error', (error: NodeJS.ErrnoException) => {
      resolve(error.code);
    });
    socket.once('end', () => {
      resolve('FIN');
    });
  });
}

/** One request on the connection; its answer. */
async function get(from: RawClient): Promise<string> {
  const before = from.text.length;
  from.send('GET / HTTP/1.1\r\nHost: web.localhost\r\n\r\n');
  await from.until(() => /(ok|\}\n)$/.test(from.text.slice(before)));
  return from.text.slice(before);
}

describe('without a descriptor for a connection to an instance', () => {
  it('a request gets 503 UO, and the instance is not blamed', async () => {
    const { gateway, sockets, port } = await scene();
    const one = await client(port);
    for (let i = 0; i < MOST - 1; i++) sockets.addInstance(1);
    const answer = await get(one);
    expect(answer).toMatch(/^HTTP\/1\.1 503 /);
    expect(answer).toContain('"flag":"UO"');
    expect(gateway.outcomes).toEqual([{ slot: 0, outcome: 'cancelled' }]);
    expect([gateway.inflight, sockets.refused.instances]).toEqual([0, 1]);
    sockets.addInstance(-1);
    expect(await get(one)).toMatch(/^HTTP\/1\.1 200 /);
  });

  it.each(['EMFILE', 'ENFILE', 'EADDRNOTAVAIL'])('%s from the system is answered in the same way', async (code) => {
    const connect: Connect = (_, __, done) => {
      queueMicrotask(() => {
        done(undefined, code);
      });
      return () => undefined;
    };
    const { gateway, sockets, port } = await scene({ connect });
    expect(await get(await client(port))).toContain('"flag":"UO"');
    expect(gateway.outcomes).toEqual([{ slot: 0, outcome: 'cancelled' }]);
    expect(sockets.instances).toBe(0);
  });

  it('an idle connection gives way to one that is wanted', async () => {
    const { sockets, pool, port } = await scene();
    const one = await client(port);
    await get(one);
    expect([pool.idleCount, sockets.instances]).toEqual([1, 1]);
    for (let i = 0; i < MOST - 2; i++) sockets.addInstance(1);
    let made = false;
    const { instance } = { instance: { id: 'b', service: 'web', host: '127.0.0.1', port: 9 } };
    pool.connect(1, instance as Parameters<Pool['connect']>[1], () => (made = true));
    expect(pool.idleCount).toBe(0);
    await expect.poll(() => made).toBe(true);
    expect(sockets.instances).toBe(MOST - 2);
  });
});

describe.each([false, true])('too many clients (plain sockets: %s)', (plainSockets) => {
  it('are closed at once by RST and counted, and the next one is served as soon as one has left', async () => {
    const { sockets, port } = await scene({ plainSockets, maxConnections: 2 });
    const first = await client(port);
    const second = await client(port);
    await get(first);
    await get(second);
    expect(await turnedAway(port)).toBe('ECONNRESET');
    expect(sockets.refused).toEqual({ limit: 1, descriptors: 0, instances: 0 });
    expect(await get(first)).toMatch(/^HTTP\/1\.1 200 /);
    second.destroy();
    await expect.poll(() => sockets.clients).toBe(1);
    expect(await get(await client(port))).toMatch(/^HTTP\/1\.1 200 /);
  });

  it('for the descriptors there are: idle connections to instances give way first', async () => {
    const { sockets, pool, port } = await scene({ plainSockets });
    await get(await client(port));
    for (let i = 0; i < MOST - 2; i++) sockets.addInstance(1);
    expect(pool.idleCount).toBe(1);
    const second = await client(port);
    await expect.poll(() => pool.idleCount).toBe(0);
    expect(await turnedAway(port)).toBe('ECONNRESET');
    expect(sockets.refused).toEqual({ limit: 0, descriptors: 1, instances: 0 });
    expect(await get(second)).toContain('"flag":"UO"');
  });
});
