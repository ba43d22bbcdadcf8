import net from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { answering, type GatewayOptions, OK, Origin, RawClient, roundTrip, TestGateway } from './harness.ts';

const stops: (() => unknown)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0).reverse()) await stop();
});

async function origin(script: Parameters<typeof Origin.start>[0]): Promise<Origin> {
  const started = await Origin.start(script);
  stops.push(() => started.stop());
  return started;
}

async function gatewayTo(ports: readonly number[], options: GatewayOptions = {}): Promise<TestGateway> {
  const gateway = await TestGateway.start(ports, options);
  stops.push(() => gateway.stop());
  return gateway;
}

async function closedPort(): Promise<number> {
  const server = net.createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as net.AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

const request = (method: string, body = ''): string =>
  `${method} / HTTP/1.1\r\nHost: web.localhost\r\n${body === '' ? '' : `Content-Length: ${body.length}\r\n`}\r\n${body}`;

describe('another attempt', () => {
  it.each(['GET', 'POST', 'PUT', 'DELETE', 'PATCH', 'PURGE'])(
    'is made for %s when nothing was sent',
    async (method) => {
      const good = await origin(answering(OK));
      const gateway = await gatewayTo([await closedPort(), good.port]);
      for (let i = 0; i < 2; i++) expect(await roundTrip(gateway.port, request(method, 'body'))).toContain(' 200 OK');
      expect(good.bytes.match(/body/g)).toHaveLength(2);
      expect(gateway.outcomes.map(({ outcome }) => outcome).sort()).toEqual(['connect-failed', 'success', 'success']);
      expect(gateway.inflight).toBe(0);
    },
  );

  it.each(['GET', 'HEAD', 'PUT', 'DELETE', 'OPTIONS'])(
    'is made for %s when the connection breaks before an answer',
    async (method) => {
      const bad = await origin((_, socket) => socket.resetAndDestroy());
      const good = await origin(answering(OK));
      const gateway = await gatewayTo([bad.port, good.port]);
      const client = await RawClient.connect(gateway.port);
      for (let i = 0; i < 4; i++) client.send(request(method));
      await client.until(() => (client.text.match(/ 200 OK/g) ?? []).length === 4);
      client.destroy();
      expect(bad.connections.length).toBeGreaterThan(0);
    },
  );

  it.each(['POST', 'PATCH', 'PURGE'])('is not made for %s once bytes were written', async (method) => {
    const bad = await origin((_, socket) => socket.resetAndDestroy());
    const good = await origin(answering(OK));
    const gateway = await gatewayTo([bad.port, good.port]);
    const answers = [
      await roundTrip(gateway.port, request(method, 'body')),
      await roundTrip(gateway.port, request(method, 'body')),
    ];
    expect(answers.filter((answer) => answer.startsWith('HTTP/1.1 200'))).toHaveLength(1);
    expect(answers.find((answer) => answer.startsWith('HTTP/1.1 502'))).toContain('"flag":"UC"');
    expect(good.bytes.match(/body/g)).toHaveLength(1);
  });

  it('is not made once a byte of the answer has come', async () => {
    const bad = await origin((_, socket) =>
      socket.write('HTTP/1.1 2', () => setTimeout(() => socket.resetAndDestroy(), 20)),
    );
    const good = await origin(answering(OK));
    const gateway = await gatewayTo([bad.port, good.port]);
    const answers = [await roundTrip(gateway.port, request('GET')), await roundTrip(gateway.port, request('GET'))];
    expect(answers.some((answer) => answer.includes('"flag":"UC"'))).toBe(true);
  });

  it('repeats a body that fits in the memory kept for it, and no larger one', async () => {
    const bad = await origin((received, socket) => {
      if (received.includes('last')) socket.resetAndDestroy();
    });
    const good = await origin(answering(OK));
    const gateway = await gatewayTo([bad.port, good.port], {
      policy: { retry: { attempts: 2, budget: 1, budgetMinPerSecond: 99, maxBodyBytes: 1000 } },
    });
    for (let i = 0; i < 2; i++)
      expect(await roundTrip(gateway.port, request('PUT', `${'a'.repeat(500)}last`))).toContain(' 200 OK');
    const big = [
      await roundTrip(gateway.port, request('PUT', `${'b'.repeat(2000)}last`)),
      await roundTrip(gateway.port, request('PUT', `${'b'.repeat(2000)}last`)),
    ];
    expect(big.filter((answer) => answer.startsWith('HTTP/1.1 502'))).toHaveLength(1);
  });

  it('stops at the number of attempts, and says what failed', async () => {
    const gateway = await gatewayTo([await closedPort(), await closedPort(), await closedPort(), await closedPort()]);
    expect(await roundTrip(gateway.port, request('GET'))).toMatch(/^HTTP\/1\.1 502 [\s\S]*"flag":"UF"/);
    expect(gateway.outcomes).toHaveLength(3);
    expect(new Set(gateway.outcomes.map(({ slot }) => slot)).size).toBe(3);
  });

  it('goes to the same instance when it has just closed an idle connection, and nobody is charged', async () => {
    const answer = answering(OK);
    const closing = await origin((received, socket, connection) => {
      answer(received, socket, connection);
      setTimeout(() => socket.end(), 5);
    });
    const gateway = await gatewayTo([closing.port]);
    const client = await RawClient.connect(gateway.port);
    for (let i = 1; i <= 60; i++) {
      client.send(request('GET'));
      await client.until(() => (client.text.match(/ 200 OK/g) ?? []).length === i);
      await new Promise((resolve) => setTimeout(resolve, i % 8));
    }
    client.destroy();
    expect(client.text).not.toContain('502');
    expect(new Set(gateway.outcomes.map(({ outcome }) => outcome))).toEqual(new Set(['success']));
  });
});

describe('a client that goes away', () => {
  it.each([
    ['while the answer is awaited', request('GET'), () => undefined],
    [
      'in the middle of its body',
      'POST / HTTP/1.1\r\nHost: web.localhost\r\nContent-Length: 1000\r\n\r\nhalf',
      () => undefined,
    ],
  ])('ends the connection to the instance within 100 ms, %s, and nobody is charged', async (_, bytes, script) => {
    const slow = await origin(script);
    const gateway = await gatewayTo([slow.port]);
    const client = await RawClient.connect(gateway.port);
    client.send(bytes);
    await expect.poll(() => slow.bytes.includes('Via')).toBe(true);
    const goneAt = performance.now();
    client.destroy();
    await expect.poll(() => slow.ended, { interval: 5 }).toEqual([0]);
    expect(performance.now() - goneAt).toBeLessThan(100);
    expect(gateway.outcomes).toEqual([{ slot: 0, outcome: 'cancelled' }]);
    expect(gateway.inflight).toBe(0);
  });

  it('ends the connection to the instance in the middle of the answer as well', async () => {
    const endless = await origin((_, socket) => {
      socket.write('HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n');
      const more = setInterval(() => socket.write('x'.repeat(1000)), 5);
      socket.on('close', () => clearInterval(more));
    });
    const gateway = await gatewayTo([endless.port]);
    const client = await RawClient.connect(gateway.port);
    client.send(request('GET'));
    await client.until(() => client.received.length > 5000);
    client.destroy();
    await expect.poll(() => endless.ended).toEqual([0]);
    expect(gateway.outcomes).toEqual([{ slot: 0, outcome: 'cancelled' }]);
  });
});

describe('an early answer', () => {
  it('reaches the client, which is then told to close, and the connection is not used again', async () => {
    const early = await origin((received, socket) => {
      if (received.includes('\r\n\r\n')) socket.write('HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nok');
    });
    const gateway = await gatewayTo([early.port]);
    const client = await RawClient.connect(gateway.port);
    client.send('POST / HTTP/1.1\r\nHost: web.localhost\r\nContent-Length: 100000\r\n\r\nfirst');
    await client.until(() => client.text.endsWith('ok'));
    client.send('x'.repeat(50_000));
    const answer = await client.closed();
    client.destroy();
    expect(answer).toContain('Connection: close');
    expect(client.broken).toBe(false);
    await expect.poll(() => early.ended).toEqual([0]);
  });
});

describe('expectations', () => {
  it('relays 100 once, and sends the body only then', async () => {
    let sawBodyEarly = false;
    const server = await origin((received, socket) => {
      const text = received.toString('latin1');
      if (text.endsWith('\r\n\r\n')) socket.write('HTTP/1.1 100 Continue\r\n\r\n');
      else if (!text.includes('Expect: 100-continue')) sawBodyEarly = true;
      else if (text.endsWith('hello')) socket.write(OK);
    });
    const gateway = await gatewayTo([server.port]);
    const client = await RawClient.connect(gateway.port);
    client.send('POST / HTTP/1.1\r\nHost: web.localhost\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n');
    await client.until(() => client.text === 'HTTP/1.1 100 Continue\r\n\r\n');
    client.send('hello');
    await client.until(() => client.text.endsWith('ok'));
    client.destroy();
    expect(sawBodyEarly).toBe(false);
    expect(client.text.match(/100 Continue/g)).toHaveLength(1);
  });
});
