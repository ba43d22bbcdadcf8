import { afterEach, describe, expect, it } from 'vitest';
import { answering, type GatewayOptions, OK, Origin, RawClient, roundTrip, TestGateway } from './harness.ts';

let origin: Origin;
let gateway: TestGateway;

async function start(options: GatewayOptions = {}, response: Parameters<typeof answering>[0] = OK): Promise<void> {
  origin = await Origin.start(answering(response));
  gateway = await TestGateway.start([origin.port], options);
}
afterEach(async () => {
  gateway.stop();
  await origin.stop();
});

/** What the origin got for this request: its lines, without the request id, which differs each time. */
async function forwarded(request: string): Promise<string[]> {
  await roundTrip(gateway.port, request);
  return origin.bytes
    .split('\r\n\r\n')[0]!
    .split('\r\n')
    .filter((line) => !line.startsWith('X-Request-Id: '));
}

describe('the request as an instance gets it', () => {
  it('has the client and the gateway in it, and what the client sent', async () => {
    await start();
    expect(
      await forwarded('GET /a?b=%20c HTTP/1.1\r\nHost: WEB.localhost:8080\r\nAccept: */*\r\nCookie: a=1\r\n\r\n'),
    ).toEqual([
      'GET /a?b=%20c HTTP/1.1',
      'Host: WEB.localhost:8080',
      'Accept: */*',
      'Cookie: a=1',
      'X-Forwarded-For: 127.0.0.1',
      'X-Forwarded-Proto: http',
      `X-Forwarded-Port: ${gateway.port}`,
      'Via: 1.1 fairlead',
      'X-Forwarded-Host: WEB.localhost:8080',
    ]);
  });

  it('has no hop-by-hop field, no claim of the client, and nothing named by Connection', async () => {
    await start();
    const lines = await forwarded(
      'GET / HTTP/1.1\r\nHost: web.localhost\r\nConnection: close, X-Secret, keep-alive, x-other\r\nKeep-Alive: 5\r\n' +
        'X-SECRET: 1\r\nX-Other: 1\r\nTE: trailers\r\nTrailer: x\r\nProxy-Connection: keep-alive\r\nUpgrade: h2c\r\n' +
        'HTTP2-Settings: AAA\r\nX-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\n' +
        'x-forwarded-port: 1\r\nForwarded: for=6.6.6.6\r\nX_Forwarded_For: 6.6.6.6\r\nKept: yes\r\n\r\n',
    );
    expect(lines).toEqual([
      'GET / HTTP/1.1',
      'Host: web.localhost',
      'Kept: yes',
      'X-Forwarded-For: 127.0.0.1',
      'X-Forwarded-Proto: http',
      `X-Forwarded-Port: ${gateway.port}`,
      'Via: 1.1 fairlead',
      'X-Forwarded-Host: web.localhost',
    ]);
  });

  it.each(['Host', 'X-Forwarded-For', 'Authorization', 'Cookie', 'Content-Length', 'Transfer-Encoding'])(
    'keeps %s even where Connection names it',
    async (name) => {
      await start();
      const lines = await forwarded(
        `POST / HTTP/1.1\r\nHost: web.localhost\r\nAuthorization: a\r\nCookie: c\r\nContent-Length: 2\r\nConnection: ${name}, ${name.toUpperCase()}\r\n\r\nhi`,
      );
      expect(lines).toContain('Host: web.localhost');
      expect(lines).toContain('Authorization: a');
      expect(lines).toContain('Cookie: c');
      expect(lines).toContain('Content-Length: 2');
      expect(lines).toContain('X-Forwarded-For: 127.0.0.1');
    },
  );

  it('believes a trusted proxy, and adds to what it said', async () => {
    await start({ trusted: () => true });
    const lines = await forwarded(
      'GET / HTTP/1.1\r\nHost: web.localhost\r\nX-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: shop.example\r\nForwarded: for=1.2.3.4\r\n\r\n',
    );
    expect(lines).toContain('X-Forwarded-For: 1.2.3.4, 127.0.0.1');
    expect(lines).toContain('X-Forwarded-Proto: https');
    expect(lines).toContain('X-Forwarded-Host: shop.example');
    expect(lines).toContain('Forwarded: for=1.2.3.4');
    expect(lines.filter((line) => line.startsWith('X-Forwarded-'))).toHaveLength(4);
  });

  it('is made by what a reload has changed, also on a connection that is open', async () => {
    await start({ trusted: () => true, allowUnderscores: true });
    const client = await RawClient.connect(gateway.port);
    const request =
      'GET / HTTP/1.1\r\nHost: web.localhost\r\nX-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Host: a.example\r\nX_Tenant: 7\r\n\r\n';
    client.send(request);
    await client.until(() => client.text.endsWith('ok'));
    const before = origin.bytes;
    gateway.context.isTrustedProxy = () => false;
    gateway.context.allowUnderscores = false;
    client.send(request);
    await client.until(() => client.text.split(OK).length === 3);
    const after = origin.bytes.slice(before.length);
    expect(before).toMatch(
      /X-Forwarded-Host: a\.example\r\n[^]*X_Tenant: 7\r\n[^]*X-Forwarded-For: 1\.2\.3\.4, 127\.0\.0\.1/,
    );
    expect(after).toMatch(/X-Forwarded-For: 127\.0\.0\.1\r\n[^]*X-Forwarded-Host: web\.localhost\r\n/);
    expect(after).not.toMatch(/X_Tenant|a\.example|1\.2\.3\.4/);
    client.destroy();
  });

  it('has fields with an underscore only where the operator lets them', async () => {
    await start({ allowUnderscores: true });
    expect(await forwarded('GET / HTTP/1.1\r\nHost: web.localhost\r\nX_Tenant: 7\r\n\r\n')).toContain('X_Tenant: 7');
  });

  it('is in origin form where the client sent an absolute target', async () => {
    await start();
    const lines = await forwarded('GET http://web.localhost:80/a?b HTTP/1.1\r\nHost: web.localhost:80\r\n\r\n');
    expect(lines[0]).toBe('GET /a?b HTTP/1.1');
    expect(lines.filter((line) => line.startsWith('Host:'))).toEqual(['Host: web.localhost:80']);
  });

  it.each([
    ['GET http://web.localhost HTTP/1.1', 'GET / HTTP/1.1'],
    ['GET http://web.localhost?q HTTP/1.1', 'GET /?q HTTP/1.1'],
    ['OPTIONS http://web.localhost HTTP/1.1', 'OPTIONS * HTTP/1.1'],
    ['OPTIONS * HTTP/1.1', 'OPTIONS * HTTP/1.1'],
    ['PURGE /x HTTP/1.1', 'PURGE /x HTTP/1.1'],
    ['GET /x HTTP/1.0', 'GET /x HTTP/1.1'],
  ])('turns %s into %s', async (from, to) => {
    await start();
    expect((await forwarded(`${from}\r\nHost: web.localhost\r\n\r\n`))[0]).toBe(to);
  });

  it('keeps a usable request id, and makes one in place of any other', async () => {
    await start();
    const id = async (field: string): Promise<string | undefined> => {
      await roundTrip(gateway.port, `GET / HTTP/1.1\r\nHost: web.localhost\r\n${field}\r\n`);
      return [...origin.bytes.matchAll(/X-Request-Id: (.*)\r\n/g)].at(-1)?.[1];
    };
    expect(await id('x-request-id: abc-1\r\n')).toBe('abc-1');
    expect(await id('')).toMatch(/^[0-9a-f]{16}-[0-9a-f]{12}$/);
    expect(await id(`x-request-id: ${'a'.repeat(200)}\r\n`)).toMatch(/^[0-9a-f]{16}-[0-9a-f]{12}$/);
    expect(await id('x-request-id: a\r\nx-request-id: b\r\n')).toMatch(/^[0-9a-f]{16}-[0-9a-f]{12}$/);
  });

  it('has chunked bodies in their plainest form', async () => {
    await start();
    await roundTrip(
      gateway.port,
      'POST / HTTP/1.1\r\nHost: web.localhost\r\nTransfer-Encoding: Chunked\r\n\r\n005;a=b;c="d\\"e"\r\nhello\r\n1\r\n!\r\n0\r\nX-Trailer: 1\r\n\r\n',
    );
    expect(origin.bytes).toContain('\r\nTransfer-Encoding: chunked\r\n');
    expect(origin.bytes.split('\r\n\r\n').slice(1).join('\r\n\r\n')).toBe('5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n');
  });
});

describe('the response as a client gets it', () => {
  it('has no hop-by-hop field', async () => {
    await start(
      {},
      'HTTP/1.1 200 Fine\r\nConnection: X-Inner\r\nX-Inner: 1\r\nKeep-Alive: timeout=5\r\nUpgrade: h2c\r\nProxy-Connection: x\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nContent-Length: 2\r\n\r\nok',
    );
    expect(await roundTrip(gateway.port, 'GET / HTTP/1.1\r\nHost: web.localhost\r\n\r\n')).toBe(
      'HTTP/1.1 200 Fine\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nContent-Length: 2\r\n\r\nok',
    );
  });

  it('keeps the connection of an HTTP/1.0 client that asks for it, and closes it otherwise', async () => {
    await start();
    const client = await RawClient.connect(gateway.port);
    client.send('GET / HTTP/1.0\r\nHost: web.localhost\r\nConnection: keep-alive\r\n\r\n');
    await client.until(() => client.text.endsWith('ok'));
    expect(client.text).toContain('Connection: keep-alive');
    client.send('GET / HTTP/1.0\r\nHost: web.localhost\r\n\r\n');
    expect(await client.closed()).toMatch(/Connection: close\r\n\r\nok$/);
    client.destroy();
  });

  it('is decoded for an HTTP/1.0 client when it was chunked', async () => {
    await start({}, 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n2\r\nde\r\n0\r\n\r\n');
    const client = await RawClient.connect(gateway.port);
    client.send('GET / HTTP/1.0\r\nHost: web.localhost\r\n\r\n');
    expect(await client.closed()).toBe('HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabcde');
    client.destroy();
  });

  it('comes in the order of pipelined requests', async () => {
    const arrived: string[] = [];
    await start({}, (head) => {
      arrived.push(head.slice(0, head.indexOf(' HTTP')));
      return OK;
    });
    const client = await RawClient.connect(gateway.port);
    client.send(
      'GET /1 HTTP/1.1\r\nHost: web.localhost\r\n\r\nGET /2 HTTP/1.1\r\nHost: nope\r\n\r\nPOST /3 HTTP/1.1\r\nHost: web.localhost\r\nContent-Length: 2\r\n\r\nhiGET /4 HTTP/1.1\r\nHost: web.localhost\r\nConnection: close\r\n\r\n',
    );
    const answer = await client.closed();
    client.destroy();
    expect([...answer.matchAll(/HTTP\/1\.1 (\d+)/g)].map((match) => match[1])).toEqual(['200', '404', '200', '200']);
    expect(arrived).toEqual(['GET /1', 'POST /3', 'GET /4']);
  });
});
