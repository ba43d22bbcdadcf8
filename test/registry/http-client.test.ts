import { once } from 'node:events';
import { createServer, type IncomingMessage, type RequestListener, type ServerResponse } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import { createServer as createTcpServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { ManualClock, systemClock } from '../../src/core/clock.ts';
import { HttpClient, parseJson, type HttpClientOptions } from '../../src/registry/http-client.ts';
import { RegistryUnreachable } from '../../src/registry/network-fault.ts';
import { TestAuthority } from '../servers/certificates.ts';
import { freePorts } from '../servers/real-server.ts';

const open: { close(): unknown }[] = [];
const never = new AbortController().signal;

afterEach(() => {
  for (const each of open.splice(0).reverse()) each.close();
});

async function listen(server: Server): Promise<number> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  open.push({
    close: () => {
      if ('closeAllConnections' in server) (server as unknown as { closeAllConnections(): void }).closeAllConnections();
      server.close();
    },
  });
  return (server.address() as AddressInfo).port;
}

async function serve(listener: RequestListener): Promise<string> {
  return `http://127.0.0.1:${await listen(createServer(listener))}`;
}

/** A server that is given the raw connection. */
async function serveRaw(onConnection: (socket: Socket) => void): Promise<string> {
  const sockets = new Set<Socket>();
  const server = createTcpServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => socket.destroy());
    onConnection(socket);
  });
  const port = await listen(server);
  open.push({ close: () => sockets.forEach((socket) => socket.destroy()) });
  return `http://127.0.0.1:${port}`;
}

function client(endpoints: string | readonly string[], more: Partial<HttpClientOptions> = {}): HttpClient {
  const list = typeof endpoints === 'string' ? [endpoints] : endpoints;
  const made = new HttpClient({
    registry: 'main',
    addressSetting: 'address',
    endpoints: list,
    clock: systemClock,
    ...more,
  });
  open.push(made);
  return made;
}

async function failure(promise: Promise<unknown>): Promise<RegistryUnreachable> {
  const error: unknown = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (!(error instanceof RegistryUnreachable)) throw new Error(`not a RegistryUnreachable: ${String(error)}`);
  return error;
}

const answer = (text: string) => (_: IncomingMessage, response: ServerResponse) => void response.end(text);

describe('a request', () => {
  it('carries method, joined path, headers and body, and returns status, headers and body', async () => {
    const seen: string[] = [];
    const url = await serve((request, response) => {
      seen.push(`${request.method ?? ''} ${request.url ?? ''} ${request.headers['x-token'] as string}`);
      request.on('data', (chunk: Buffer) => seen.push(chunk.toString()));
      request.on('end', () => response.writeHead(404, { 'X-Index': '7' }).end('no'));
    });
    const headers = { 'x-token': 't' };
    const reply = await client(`${url}/base/`, { headers }).request(
      { method: 'PUT', path: '/a%2Fb?c=d', body: 'hi' },
      never,
    );
    expect(seen).toEqual(['PUT /base/a%2Fb?c=d t', 'hi']);
    expect([reply.status, reply.header('x-index'), reply.body.toString(), reply.endpoint]).toEqual([
      404,
      '7',
      'no',
      `${url}/base`,
    ]);
  });

  it('stays with the configured host whatever the path looks like', async () => {
    const seen: string[] = [];
    const url = await serve((request, response) => {
      seen.push(request.url ?? '');
      response.end();
    });
    await client(url).request({ path: '//example.invalid/x' }, never);
    expect(seen).toEqual(['//example.invalid/x']);
  });

  it('reuses its connection', async () => {
    const ports = new Set<number | undefined>();
    const url = await serve((request, response) => {
      ports.add(request.socket.remotePort);
      response.end('ok');
    });
    const http = client(url);
    for (let turn = 0; turn < 3; turn += 1) await http.request({ path: '/' }, never);
    expect(ports.size).toBe(1);
  });

  it('is asked again on a new connection when the kept-alive one was closed in its face', async () => {
    let served = 0;
    const url = await serveRaw((socket) => {
      let onThisConnection = 0;
      socket.on('data', () => {
        onThisConnection += 1;
        if (onThisConnection > 1) return void socket.resetAndDestroy();
        served += 1;
        socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
      });
    });
    const http = client(url);
    await http.request({ path: '/' }, never);
    expect((await http.request({ path: '/' }, never)).body.toString()).toBe('ok');
    expect(served).toBe(2);
    await http.request({ path: '/' }, never);
    const error = await failure(
      http.request({ method: 'PUT', path: '/' }, never).then(() => http.request({ method: 'PUT', path: '/' }, never)),
    );
    expect(error.fault).toBe('reset');
  });

  it('puts credentials of the address into the request and never into a message', async () => {
    const seen: (string | undefined)[] = [];
    const url = await serve((request, response) => {
      seen.push(request.headers.authorization);
      response.end('<html>');
    });
    const reply = await client(url.replace('://', '://user:secret@')).request({ path: '/' }, never);
    expect(seen).toEqual([`Basic ${Buffer.from('user:secret').toString('base64')}`]);
    expect(() => parseJson(reply, { registry: 'main', addressSetting: 'address' })).toThrow(
      `registry "main" at ${url}: answered something that is not JSON, beginning "<html>"; check registries[].address`,
    );
  });
});

describe('deadlines', () => {
  it.each([
    ['an answer that never begins', () => undefined, 'no answer within 100 ms'],
    ['a head that never ends', (socket: Socket) => socket.write('HTTP/1.1 200 OK\r\nX: '), 'no answer within 100 ms'],
    [
      'a body that stops',
      (socket: Socket) => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc'),
      'no data within 120 ms',
    ],
  ])('bound %s', async (_, behave, message) => {
    const url = await serveRaw((socket) => void behave(socket));
    const error = await failure(client(url).request({ path: '/', headMs: 100, idleMs: 120 }, never));
    expect([error.fault, error.message]).toEqual(['timeout', expect.stringContaining(message)]);
  });

  it('bound the wait for a free connection', async () => {
    const url = await serve(() => undefined);
    const http = client(url, { maxConnections: 1 });
    const first = failure(http.request({ path: '/', headMs: 400 }, never));
    expect((await failure(http.request({ path: '/', connectMs: 100 }, never))).message).toContain(
      'no connection within 100 ms',
    );
    expect((await first).message).toContain('no answer within 400 ms');
  });

  it('bound a TLS handshake that never ends', async () => {
    const url = await serveRaw(() => undefined);
    const error = await failure(client(url.replace('http:', 'https:')).request({ path: '/', connectMs: 100 }, never));
    expect(error.message).toContain('no connection within 100 ms');
  });

  it('use the clock that was passed in, and leave no timer behind', async () => {
    const clock = new ManualClock();
    const url = await serve((request, response) => {
      if (request.url === '/ok') response.end('ok');
    });
    const http = client(url, { clock });
    await http.request({ path: '/ok' }, never);
    expect(clock.pending).toBe(0);
    const waiting = failure(http.request({ path: '/hang', headMs: 60_000 }, never));
    await new Promise((resolve) => setTimeout(resolve, 30));
    clock.advance(60_001);
    expect((await waiting).fault).toBe('timeout');
    expect(clock.pending).toBe(0);
  });
});

describe('what breaks', () => {
  it('is refused above the body limit', async () => {
    const url = await serve((_, response) => void response.end('x'.repeat(2000)));
    const error = await failure(client(url).request({ path: '/', maxBodyBytes: 1000 }, never));
    expect([error.fault, error.message]).toEqual([
      'too-large',
      `registry "main" at ${url}: its answer is larger than 1000 bytes`,
    ]);
  });

  it('is an error when the body ends early', async () => {
    const url = await serveRaw((socket) => void socket.end('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc'));
    expect((await failure(client(url).request({ path: '/' }, never))).fault).toBe('reset');
  });

  it('names address and setting where nothing listens, nothing resolves, or nothing speaks HTTP', async () => {
    const [port] = await freePorts(1);
    const refused = await failure(client(`http://127.0.0.1:${String(port)}`).request({ path: '/' }, never));
    expect(refused.message).toBe(
      `registry "main" at http://127.0.0.1:${String(port)}: connection refused, nothing listens there (ECONNREFUSED); check registries[].address`,
    );
    const unresolved = await failure(client('http://nowhere.invalid:8500').request({ path: '/' }, never));
    expect(unresolved.fault).toBe('unresolved');
    const url = await serveRaw((socket) => void socket.end('SSH-2.0-OpenSSH_9.2\r\n'));
    expect((await failure(client(url).request({ path: '/' }, never))).fault).toBe('protocol');
    const plain = await serve(answer('ok'));
    const mixed = await failure(client(plain.replace('http:', 'https:')).request({ path: '/' }, never));
    expect([mixed.fault, mixed.message]).toEqual(['tls', expect.stringContaining('http:// or https://?')]);
    expect(() => client('127.0.0.1:8500')).toThrow(
      'that is no address; write registries[].address like http://host:port',
    );
  });

  it('ends at once when the signal aborts, before and inside the body, with the reason of the signal', async () => {
    const url = await serve((request, response) => {
      if (request.url === '/body') response.write('begun');
    });
    const http = client(url);
    for (const path of ['/head', '/body']) {
      const controller = new AbortController();
      const pending = http.request({ path }, controller.signal);
      setTimeout(() => controller.abort(new Error('enough')), 30);
      await expect(pending).rejects.toThrow('enough');
    }
    await expect(http.request({ path: '/' }, AbortSignal.abort(new Error('before')))).rejects.toThrow('before');
  });
});

describe('failover', () => {
  it('goes to the next endpoint on a failure and on a 5xx, and stays where it was answered', async () => {
    const [port] = await freePorts(1);
    const dead = `http://127.0.0.1:${String(port)}`;
    const unwell = await serve((_, response) => void response.writeHead(503).end('unwell'));
    let asked = 0;
    const well = await serve((_, response) => {
      asked += 1;
      response.end('ok');
    });
    const http = client([dead, unwell, well]);
    expect((await http.request({ path: '/' }, never)).endpoint).toBe(well);
    expect(http.endpoint).toBe(well);
    expect((await http.request({ path: '/' }, never)).body.toString()).toBe('ok');
    expect(asked).toBe(2);
  });

  it('returns the answer of an unwell server where no other answers at all', async () => {
    const [port] = await freePorts(1);
    const unwell = await serve((_, response) => void response.writeHead(500).end('No cluster leader'));
    const http = client([unwell, `http://127.0.0.1:${String(port)}`]);
    const reply = await http.request({ path: '/' }, never);
    expect([reply.status, reply.body.toString()]).toEqual([500, 'No cluster leader']);
  });

  it('names every endpoint when all of them fail', async () => {
    const [a, b] = await freePorts(2);
    const error = await failure(
      client([`http://127.0.0.1:${String(a)}`, `http://127.0.0.1:${String(b)}`]).request({ path: '/' }, never),
    );
    expect(error.message).toContain(`127.0.0.1:${String(a)}: connection refused`);
    expect(error.message).toContain(`127.0.0.1:${String(b)}: connection refused`);
  });
});

describe('lines', () => {
  async function lines(url: string, maxBodyBytes = 1000): Promise<string[]> {
    const stream = await client(url).stream({ path: '/', idleMs: 200, maxBodyBytes }, never);
    const seen: string[] = [];
    for await (const line of stream.lines()) seen.push(line);
    return seen;
  }

  it('come out whole however the chunks were cut, multi-byte characters too', async () => {
    const text = Buffer.from('{"a":"é"}\n\n{"b":2}\r\n{"c":3}');
    const url = await serve((_, response) => {
      void (async () => {
        for (const byte of text) {
          response.write(Buffer.of(byte));
          await new Promise((resolve) => setImmediate(resolve));
        }
        response.end();
      })();
    });
    expect(await lines(url)).toEqual(['{"a":"é"}', '{"b":2}\r', '{"c":3}']);
  });

  it('are bounded in length one by one, not in sum', async () => {
    const url = await serve((_, response) => {
      for (let at = 0; at < 10; at += 1) response.write(`${'x'.repeat(500)}\n`);
      response.write('x'.repeat(1001));
    });
    const stream = await client(url).stream({ path: '/', maxBodyBytes: 1000 }, never);
    let count = 0;
    const read = async (): Promise<void> => {
      for await (const line of stream.lines()) count += line === '' ? 0 : 1;
    };
    expect((await failure(read())).fault).toBe('too-large');
    expect(count).toBe(10);
  });

  it('end in an error when the server falls silent or goes away', async () => {
    const silent = await serve((_, response) => void response.write('one\n'));
    expect((await failure(lines(silent))).message).toContain('no data within 200 ms');
    const broken = await serveRaw((socket) => {
      socket.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\none\n\r\n');
      setTimeout(() => socket.resetAndDestroy(), 20);
    });
    expect((await failure(lines(broken))).fault).toBe('reset');
  });

  it('let go of the connection when the reader leaves early, and when nobody reads at all', async () => {
    let closed = 0;
    const url = await serve((_, response) => {
      response.on('close', () => (closed += 1));
      for (let at = 0; at < 3; at += 1) response.write(`${at}\n`);
    });
    const http = client(url);
    const stream = await http.stream({ path: '/' }, never);
    for await (const line of stream.lines()) {
      expect(line).toBe('0');
      break;
    }
    (await http.stream({ path: '/' }, never)).close();
    await expect.poll(() => closed).toBe(2);
  });
});

describe('TLS', () => {
  let authority: TestAuthority;
  let stranger: TestAuthority;
  let url: string;
  let server: ReturnType<typeof createSecureServer>;

  beforeAll(async () => {
    authority = new TestAuthority();
    stranger = new TestAuthority('stranger');
    const { cert, key } = authority.issue('server', ['DNS:registry.internal']);
    server = createSecureServer(
      { cert, key, ca: authority.ca.cert, requestCert: true, rejectUnauthorized: true },
      answer('ok'),
    );
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    url = `https://127.0.0.1:${(server.address() as AddressInfo).port}`;
  });

  afterAll(() => {
    server.closeAllConnections();
    server.close();
    authority[Symbol.dispose]();
    stranger[Symbol.dispose]();
  });

  it('speaks with a client certificate, to the name that was set', async () => {
    const { cert, key } = authority.issue('client');
    const tls = { ca: authority.ca.cert, cert, key, serverName: 'registry.internal' };
    expect((await client(url, { tls }).request({ path: '/' }, never)).body.toString()).toBe('ok');
    const careless = { cert, key, verify: false };
    expect((await client(url, { tls: careless }).request({ path: '/' }, never)).body.toString()).toBe('ok');
  });

  it('says which setting is missing or wrong', async () => {
    const ours = authority.issue('client');
    const theirs = stranger.issue('client');
    const name = 'registry.internal';
    const cases = [
      [{ serverName: name, cert: ours.cert, key: ours.key }, 'set registries[].tls.ca'],
      [{ serverName: name, ca: stranger.ca.cert, cert: ours.cert, key: ours.key }, 'tls.ca'],
      [{ ca: authority.ca.cert, cert: ours.cert, key: ours.key }, 'set registries[].tls.serverName'],
      [{ ca: authority.ca.cert, serverName: name }, 'check registries[].tls.cert and .key'],
      [
        { ca: authority.ca.cert, serverName: name, cert: theirs.cert, key: theirs.key },
        'check registries[].tls.cert and .key',
      ],
    ] as const;
    for (const [tls, advice] of cases) {
      const error = await failure(client(url, { tls }).request({ path: '/' }, never));
      expect(error.message).toContain(advice);
    }
    expect(() => client(url, { tls: { cert: ours.cert, key: theirs.key } })).toThrow(
      'check registries[].tls: ca, cert and key',
    );
    expect(() => client(url, { tls: { ca: 'nonsense', cert: 'nonsense', key: 'x' } })).toThrow('registries[].tls');
  });
});
