import { afterEach, describe, expect, it } from 'vitest';
import {
  answering,
  type GatewayOptions,
  OK,
  Origin,
  RawClient,
  roundTrip,
  type Script,
  TestGateway,
} from './harness.ts';

const GET = 'GET / HTTP/1.1\r\nHost: web.localhost\r\n\r\n';

describe.each([
  { layer: 'bare handles', plainSockets: false },
  { layer: 'net.Socket', plainSockets: true },
])('instances that misbehave, over $layer', ({ plainSockets }) => {
  let origin: Origin | undefined;
  let gateway: TestGateway | undefined;

  async function start(script: Script, options: GatewayOptions = {}): Promise<TestGateway> {
    origin = await Origin.start(script);
    gateway = await TestGateway.start([origin.port], { plainSockets, ...options });
    return gateway;
  }
  afterEach(async () => {
    gateway?.stop();
    await origin?.stop();
  });

  it.each([
    [
      'Content-Length with Transfer-Encoding',
      'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n',
    ],
    ['Content-Length twice', 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok'],
    ['a Content-Length that is no number', 'HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok'],
    ['an unknown transfer coding', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nok'],
    ['chunked that is obfuscated', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n'],
    ['chunked in HTTP/1.0', 'HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n'],
    ['a status line of another protocol', 'SSH-2.0-OpenSSH_9.2\r\n\r\n'],
    ['a status of two digits', 'HTTP/1.1 20 OK\r\n\r\n'],
    ['a status of four digits', 'HTTP/1.1 2000 OK\r\n\r\n'],
    ['status 600', 'HTTP/1.1 600 What\r\nContent-Length: 0\r\n\r\n'],
    ['HTTP/2 in text', 'HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n'],
    ['a control in the reason phrase', 'HTTP/1.1 200 O\x01K\r\nContent-Length: 0\r\n\r\n'],
    ['a bare LF', 'HTTP/1.1 200 OK\nContent-Length: 0\n\n'],
    ['a bare CR in a value', 'HTTP/1.1 200 OK\r\nX: a\rb\r\nContent-Length: 0\r\n\r\n'],
    ['NUL in a value', 'HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 0\r\n\r\n'],
    ['a folded field', 'HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n'],
    ['an oversized head', `HTTP/1.1 200 OK\r\nX: ${'a'.repeat(40_000)}\r\nContent-Length: 0\r\n\r\n`],
    ['too many fields', `HTTP/1.1 200 OK\r\n${'X: a\r\n'.repeat(120)}Content-Length: 0\r\n\r\n`],
    [
      'an upgrade nobody asked for',
      'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n',
    ],
    ['endless interim responses', 'HTTP/1.1 103 Early Hints\r\n\r\n'.repeat(20)],
  ])('answers 502 for %s, and destroys the connection', async (_, response) => {
    const { port, outcomes } = await start(answering(response), {
      policy: { retry: { attempts: 0, budget: 1, budgetMinPerSecond: 9, maxBodyBytes: 0 } },
    });
    const answer = await roundTrip(port, GET);
    expect(answer.slice(answer.lastIndexOf('HTTP/1.1 502'))).toMatch(/"flag":"UP"/);
    await expect.poll(() => origin?.ended).toEqual([0]);
    expect(outcomes).toEqual([{ slot: 0, outcome: 'protocol-error' }]);
    expect(gateway?.inflight).toBe(0);
  });

  it.each([
    ['HEAD', `HEAD / HTTP/1.1\r\nHost: web.localhost\r\n\r\n`, 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'],
    ['204', GET, 'HTTP/1.1 204 No Content\r\n\r\nok'],
    ['304', GET, 'HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\nok'],
  ])('passes no body on with %s, and destroys a connection that had one', async (_, request, response) => {
    const { port } = await start(answering(response));
    const client = await RawClient.connect(port);
    client.send(request);
    await client.until(() => client.text.includes('\r\n\r\n'));
    client.send(request);
    await client.until(() => client.text.split('\r\n\r\n').length > 2);
    client.destroy();
    expect(client.text).not.toContain('ok');
    expect(origin?.connections).toHaveLength(2);
  });

  it('destroys a connection on which bytes follow the body', async () => {
    const { port } = await start(
      answering('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil'),
    );
    const client = await RawClient.connect(port);
    client.send(GET);
    await client.until(() => client.text.endsWith('ok'));
    client.send(GET);
    await client.until(() => client.text.split('ok').length > 2);
    client.destroy();
    expect(client.text).not.toContain('evil');
    expect(origin?.connections).toHaveLength(2);
  });

  it('destroys an idle connection on which bytes arrive that nobody asked for', async () => {
    const { port } = await start((received, socket) => {
      answering(OK)(received, socket, 0);
      setTimeout(() => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil'), 20);
    });
    const client = await RawClient.connect(port);
    client.send(GET);
    await client.until(() => client.text.endsWith('ok'));
    await expect.poll(() => origin?.ended).toEqual([0]);
    client.send(GET);
    await client.until(() => client.text.split('ok').length > 2);
    client.destroy();
    expect(client.text).not.toContain('evil');
  });

  it.each([
    ['FIN in a body of known length', 'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf', 'end'],
    ['RST in a body of known length', 'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf', 'reset'],
    ['FIN in a chunked body', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n', 'end'],
    ['RST in a chunked body', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n', 'reset'],
    ['RST in a body that ends with the connection', 'HTTP/1.1 200 OK\r\n\r\nhalf', 'reset'],
    ['a broken chunk', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nzz\r\n', 'stay'],
  ])('shows the client an incomplete message after %s', async (_, response, then) => {
    const { port } = await start((_received, socket) => {
      socket.write(Buffer.from(response, 'latin1'), () => {
        // RST discards what has not been read yet.
        setTimeout(() => {
          if (then === 'end') socket.end();
          else if (then === 'reset') socket.resetAndDestroy();
        }, 30);
      });
    });
    const client = await RawClient.connect(port);
    client.send(GET);
    await client.closed();
    expect(client.broken).toBe(true);
    expect(client.text).not.toContain('\r\n0\r\n\r\n');
    expect(gateway?.inflight).toBe(0);
  });

  it('ends a body that ends with the connection as a chunked one, cleanly', async () => {
    const { port } = await start((_, socket) => socket.end('HTTP/1.0 200 OK\r\n\r\nall of it'));
    const client = await RawClient.connect(port);
    client.send(GET);
    await client.until(() => client.text.endsWith('0\r\n\r\n'));
    client.destroy();
    expect(client.text).toContain('Transfer-Encoding: chunked');
    expect(client.text).toContain('9\r\nall of it\r\n');
  });

  it('answers 504 when the response head does not come in time', async () => {
    const { port, outcomes } = await start(() => undefined, {
      policy: {
        retry: { attempts: 0, budget: 1, budgetMinPerSecond: 9, maxBodyBytes: 0 },
        timeouts: { connectMs: 300, responseHeadMs: 200, bodyIdleMs: 200, tunnelIdleMs: 1000 },
      },
    });
    expect(await roundTrip(port, GET)).toMatch(/^HTTP\/1\.1 504 [\s\S]*"flag":"UT"/);
    expect(outcomes).toEqual([{ slot: 0, outcome: 'timeout' }]);
  });

  it('breaks off a response whose body rests for too long', async () => {
    const { port, outcomes } = await start(
      (_, socket) => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf'),
      {
        policy: { timeouts: { connectMs: 300, responseHeadMs: 200, bodyIdleMs: 200, tunnelIdleMs: 1000 } },
      },
    );
    const client = await RawClient.connect(port);
    client.send(GET);
    await client.closed();
    expect(client.broken).toBe(true);
    expect(outcomes).toEqual([{ slot: 0, outcome: 'timeout' }]);
  });

  it('relays 100 and 103, and neither to an HTTP/1.0 client', async () => {
    const hints = 'HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n';
    const { port } = await start(answering(hints + OK));
    expect(await roundTrip(port, GET)).toContain(hints);
    const old = await roundTrip(port, 'GET / HTTP/1.0\r\nHost: web.localhost\r\n\r\n');
    expect(old).not.toContain('103');
    expect(old).toContain('ok');
  });
});
