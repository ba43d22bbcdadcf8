import { afterEach, describe, expect, it } from 'vitest';
import { latin1 } from '../http1/server-view.ts';
import { MemoryGateway, type MemoryGatewayOptions } from './memory-gateway.ts';

let gateway: MemoryGateway;
afterEach(() => {
  gateway.stop();
});

async function start(options: MemoryGatewayOptions = {}): Promise<MemoryGateway> {
  gateway = await MemoryGateway.start(options);
  return gateway;
}

async function turns(count = 4): Promise<void> {
  for (let i = 0; i < count; i++) await gateway.turn();
}

const GET = latin1('GET / HTTP/1.1\r\nHost: web.localhost\r\n\r\n');
const OK = latin1('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');

describe('the gateway in memory', () => {
  it('forwards, answers, and keeps the connection', async () => {
    await start();
    const client = gateway.connect();
    for (let i = 1; i <= 3; i++) {
      client.transport.arrive(GET);
      await turns();
      gateway.instances[0]!.transport.arrive(OK);
      await turns();
    }
    expect(client.transport.sent).toBe(OK.toString('latin1').repeat(3));
    expect(gateway.instances).toHaveLength(1);
    expect([gateway.inflight, gateway.context.requests.own, gateway.context.pool.idleCount]).toEqual([0, 0, 1]);
  });
});

describe('when both sides are clogged', () => {
  it('a client that neither takes the answer nor can go on sending is not waited for endlessly', async () => {
    await start();
    const client = gateway.connect();
    client.transport.arrive(latin1('POST / HTTP/1.1\r\nHost: web.localhost\r\nContent-Length: 1000000\r\n\r\nfirst'));
    await turns();
    const { transport } = gateway.instances[0]!;
    // The instance takes no more of the body: the client is held back.
    transport.pends = () => true;
    client.transport.arrive(Buffer.alloc(50_000, 'x'));
    await turns();
    expect(client.transport.reading).toBe(false);
    // It answers all the same, and the client takes nothing of it: the instance is held back.
    client.transport.pends = () => true;
    transport.arrive(latin1('HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n'));
    transport.arrive(Buffer.alloc(50_000, 'y'));
    await turns();
    expect(transport.reading).toBe(false);
    for (let i = 0; i < 100; i++) {
      gateway.clock.advance(1000);
      await gateway.turn();
    }
    expect(client.closed).toBe(true);
    expect(transport.destroyed).toBe(true);
    expect([gateway.inflight, gateway.context.requests.own]).toEqual([0, 0]);
  });
});
