import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { MemoryGateway } from '../fuzz/memory-gateway.ts';
import type { MemoryTransport } from './memory-transport.ts';
import { latin1 } from './server-view.ts';
import { readRequests } from './strict-reader.ts';

const OK = latin1('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
const NOBODYS = latin1('HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n');
const ask = (method: string, path: string): Buffer =>
  latin1(`${method} ${path} HTTP/1.1\r\nHost: web.localhost\r\n\r\n`);

let gateway: MemoryGateway;
beforeEach(async () => {
  gateway = await MemoryGateway.start();
});
afterEach(() => {
  expect([gateway.inflight, gateway.context.requests.own]).toEqual([0, 0]);
  gateway.stop();
});

async function turns(): Promise<void> {
  for (let i = 0; i < 4; i++) await gateway.turn();
}

/** A connection to the instance that is idle, after one request. */
async function idleConnection(): Promise<MemoryTransport> {
  const client = gateway.connect();
  client.transport.arrive(ask('GET', '/first'));
  await turns();
  const { transport } = gateway.instances[0]!;
  transport.arrive(OK);
  await turns();
  expect([client.transport.sent, gateway.context.pool.idleCount]).toEqual([OK.toString('latin1'), 1]);
  client.transport.destroy();
  await turns();
  return transport;
}

const linesTo = (transport: MemoryTransport): string[] => readRequests(transport.sent).messages.map(({ line }) => line);

const HAPPENS: [string, (transport: MemoryTransport) => void][] = [
  ['is answered already, by an answer to nobody', (transport) => transport.arrive(NOBODYS)],
  ['is closed', (transport) => transport.arriveEnd()],
  ['is reset', (transport) => transport.breakOff()],
];

describe('a request on an idle connection that, before the turn is over,', () => {
  it.each(HAPPENS.flatMap(([what, happens]) => ['GET', 'PURGE'].map((method) => ({ what, happens, method }))))(
    '$what: goes on another one, as $method, too, and gets its own answer',
    async ({ happens, method }) => {
      const idle = await idleConnection();
      const client = gateway.connect();
      client.transport.arrive(ask(method, '/second'));
      happens(idle);
      await turns();
      expect(gateway.instances).toHaveLength(2);
      expect(linesTo(idle)).toEqual(['GET /first HTTP/1.1']);
      const { transport } = gateway.instances[1]!;
      expect(linesTo(transport)).toEqual([`${method} /second HTTP/1.1`]);
      transport.arrive(OK);
      await turns();
      expect(client.transport.sent).toBe(OK.toString('latin1'));
    },
  );

  it.each(HAPPENS.slice(1))(
    '%s only after it has left: is answered 502 where it may not be repeated',
    async (_, happens) => {
      const idle = await idleConnection();
      const client = gateway.connect();
      client.transport.arrive(ask('PURGE', '/second'));
      await turns();
      happens(idle);
      await turns();
      for (const { transport } of gateway.instances.slice(1)) transport.arrive(OK);
      await turns();
      const sent = gateway.instances.flatMap(({ transport }) => linesTo(transport)).slice(1);
      const answered = client.transport.sent.split('\r\n')[0];
      expect([sent, answered]).toEqual([['PURGE /second HTTP/1.1'], 'HTTP/1.1 502 Bad Gateway']);
    },
  );

  it.each(HAPPENS)('%s: does the requests of others in the same turn no harm', async (_, happens) => {
    const idle = await idleConnection();
    const clients = Array.from({ length: 5 }, () => gateway.connect());
    for (const [i, { transport }] of clients.entries()) {
      transport.arrive(ask('GET', `/of-${i}`));
      if (i === 2) happens(idle);
    }
    await turns();
    for (const { transport } of gateway.instances) {
      const [, target] = (linesTo(transport).at(-1) ?? '').split(' ');
      if (transport !== idle)
        transport.arrive(latin1(`HTTP/1.1 200 OK\r\nContent-Length: ${target!.length}\r\n\r\n${target}`));
    }
    await turns();
    expect(linesTo(idle)).toEqual(['GET /first HTTP/1.1']);
    expect(clients.map(({ transport }) => transport.sent.split('\r\n\r\n')[1])).toEqual(
      clients.map((_each, i) => `/of-${i}`),
    );
  });

  it('loses its client: never leaves, and the connection is not used again', async () => {
    const idle = await idleConnection();
    const client = gateway.connect();
    client.transport.arrive(ask('GET', '/second'));
    client.transport.breakOff();
    await turns();
    expect(linesTo(idle)).toEqual(['GET /first HTTP/1.1']);
    expect([idle.destroyed, gateway.context.pool.idleCount]).toEqual([true, 0]);
  });
});

describe('an answer that waits for the end of the turn', () => {
  it('goes nowhere when its client has gone, and its connection to the instance serves the next', async () => {
    const client = gateway.connect();
    client.transport.arrive(ask('GET', '/first'));
    await turns();
    const { transport } = gateway.instances[0]!;
    transport.arrive(OK);
    client.transport.breakOff();
    const next = gateway.connect();
    next.transport.arrive(ask('GET', '/second'));
    await turns();
    expect([client.transport.sent, gateway.instances.length]).toEqual(['', 1]);
    expect(linesTo(transport)).toEqual(['GET /first HTTP/1.1', 'GET /second HTTP/1.1']);
    transport.arrive(OK);
    await turns();
    expect(next.transport.sent).toBe(OK.toString('latin1'));
  });
});
