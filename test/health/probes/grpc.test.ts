import http2, { type IncomingHttpHeaders, type ServerHttp2Session, type ServerHttp2Stream } from 'node:http2';
import type { Socket } from 'node:net';
import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import type { Check } from '../../../src/core/check.ts';
import { decodeCheckResponse, encodeCheckRequest } from '../../../src/health/probes/grpc-message.ts';
import { TIMING } from '../fixtures.ts';
import { certificate, closedPort, probing, TestServers, until } from './run.ts';

const servers = new TestServers();
afterEach(() => servers.stop());

type GrpcCheck = Extract<Check, { type: 'grpc' }>;

function grpcCheck(part: Partial<GrpcCheck> = {}): GrpcCheck {
  return { type: 'grpc', name: 'grpc', port: undefined, grpcService: '', tls: false, ...TIMING, ...part };
}

/** One `HealthCheckResponse` in its frame. */
const message = (...bytes: number[]): Buffer => Buffer.from([0, 0, 0, 0, bytes.length, ...bytes]);
const SERVING = message(0x08, 1);

interface Call {
  readonly headers: IncomingHttpHeaders;
  body: Buffer;
}
type Serve = (stream: ServerHttp2Stream, call: Call, count: number) => void;

const reply =
  (body: Buffer, grpcStatus = '0'): Serve =>
  (stream) => {
    stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
    stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': grpcStatus }));
    stream.end(body);
  };
const refuse =
  (grpcStatus: string): Serve =>
  (stream) =>
    stream.respond(
      { ':status': 200, 'content-type': 'application/grpc', 'grpc-status': grpcStatus },
      { endStream: true },
    );

async function serving(serve: Serve, tls?: { cert: string }) {
  const calls: Call[] = [];
  const sessions: ServerHttp2Session[] = [];
  const server =
    tls === undefined
      ? http2.createServer()
      : http2.createSecureServer({ key: certificate('server.key'), cert: certificate(tls.cert) });
  server.on('session', (session) => {
    sessions.push(session);
    session.on('error', () => session.destroy());
  });
  server.on('stream', (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => {
    const call = { headers, body: Buffer.alloc(0) };
    calls.push(call);
    const count = calls.length;
    stream.on('error', () => stream.destroy());
    stream.on('data', (piece: Buffer) => (call.body = Buffer.concat([call.body, piece])));
    stream.on('end', () => serve(stream, call, count));
  });
  return { port: await servers.listen(() => undefined, server), calls, sessions };
}

describe('GrpcProbe', () => {
  it('asks the standard health service, by name where one is given, and passes on SERVING', async () => {
    const { port, calls } = await serving(reply(SERVING));
    const { run, probe } = probing(grpcCheck({ grpcService: 'shop.Cart' }), { port });
    expect(await run()).toEqual({ result: 'pass', text: 'SERVING' });
    const { headers, body } = calls[0]!;
    expect(headers).toMatchObject({
      ':method': 'POST',
      ':path': '/grpc.health.v1.Health/Check',
      ':authority': `127.0.0.1:${port}`,
      'content-type': 'application/grpc',
      te: 'trailers',
      'grpc-timeout': '2000m',
    });
    expect(body).toEqual(Buffer.concat([Buffer.from([0, 0, 0, 0, 11, 0x0a, 9]), Buffer.from('shop.Cart')]));
    probe.close();
  });

  it('uses one connection again and again, until told to go away', async () => {
    const { port, calls, sessions } = await serving(reply(SERVING));
    const { run, probe } = probing(grpcCheck(), { port });
    for (let count = 0; count < 4; count++) expect((await run()).result).toBe('pass');
    expect([calls.length, sessions.length]).toEqual([4, 1]);
    sessions[0]!.close();
    await until(() => sessions[0]!.destroyed);
    for (let count = 0; count < 2; count++) expect((await run()).result).toBe('pass');
    expect([calls.length, sessions.length]).toEqual([6, 2]);
    probe.close();
    await until(() => servers.connections === 0);
  });

  it.each<[string, Serve, string]>([
    ['NOT_SERVING', reply(message(0x08, 2)), 'NOT_SERVING'],
    ['SERVICE_UNKNOWN', reply(message(0x08, 3)), 'SERVICE_UNKNOWN'],
    ['UNKNOWN, which is an empty message', reply(message()), 'UNKNOWN'],
    ['an unknown service', refuse('5'), 'NOT_FOUND: the server does not know the service asked for'],
    ['a server without health service', refuse('12'), 'UNIMPLEMENTED: the server has no grpc.health.v1.Health service'],
    ['another gRPC status', refuse('14'), 'UNAVAILABLE'],
    ['a status of the future', refuse('99'), 'gRPC status 99'],
    ['a status that is none', refuse('secret'), 'the gRPC status is malformed'],
    ['a status in the trailers', reply(Buffer.alloc(0), '13'), 'INTERNAL'],
    ['a message that is none', reply(Buffer.from('hello')), 'the answer is no HealthCheckResponse'],
    ['no message', reply(Buffer.alloc(0)), 'the answer is no HealthCheckResponse'],
    [
      'no gRPC status',
      (stream) => (stream.respond({ ':status': 200 }), stream.end(SERVING)),
      'the answer has no gRPC status',
    ],
    [
      'plain HTTP',
      (stream) => (stream.respond({ ':status': 404 }), stream.end('not here')),
      'HTTP status 404 in place of a gRPC answer',
    ],
    ['a long answer', reply(Buffer.alloc(100_000)), 'the answer is longer than 1 KiB'],
    ['a reset', (stream) => stream.close(http2.constants.NGHTTP2_INTERNAL_ERROR), 'the stream was reset'],
  ])('fails on %s', async (_name, serve, text) => {
    const { port } = await serving(serve);
    const { run, probe } = probing(grpcCheck(), { port });
    expect(await run()).toEqual({ result: 'fail', text });
    probe.close();
  });

  it('gives up at the deadline, with the connection, and starts afresh', async () => {
    const { port, sessions } = await serving((stream, call, count) => count > 1 && reply(SERVING)(stream, call, count));
    const { run, probe, strays } = probing(grpcCheck(), { port });
    expect(await run(150)).toEqual({ result: 'fail', text: 'no answer within 150ms' });
    await until(() => servers.connections === 0);
    expect((await run()).result).toBe('pass');
    expect(sessions).toHaveLength(2);
    expect(strays).toEqual([]);
    probe.close();
  });

  it('asks once more on a new connection where a kept one is dead, and only then', async () => {
    const { port, calls, sessions } = await serving((stream, call, count) => {
      if (count === 2) stream.session?.destroy();
      else reply(SERVING)(stream, call, count);
    });
    const { run, probe } = probing(grpcCheck(), { port });
    expect((await run()).result).toBe('pass');
    expect((await run()).result).toBe('pass');
    expect([calls.length, sessions.length]).toEqual([3, 2]);
    probe.close();

    const broken = await serving((stream) => stream.session?.destroy());
    expect((await probing(grpcCheck(), { port: broken.port }).run()).result).toBe('fail');
    expect(broken.calls).toHaveLength(1);
  });

  it('says so where nobody listens, and where somebody speaks another protocol', async () => {
    expect((await probing(grpcCheck(), { port: await closedPort() }).run()).text).toBe('connection refused');
    const port = await servers.listen((socket) =>
      socket.once('data', () => socket.write('HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n')),
    );
    const answer = await probing(grpcCheck(), { port }).run(1000);
    expect(answer).toEqual({ result: 'fail', text: 'the port does not speak HTTP/2' });
  });

  it('survives a server that hangs up at once, resets, or sends garbage for ever', async () => {
    const block = Buffer.alloc(16_384, 0x41);
    for (const serve of [
      (socket: Socket) => socket.resume().end(),
      (socket: Socket) => socket.resetAndDestroy(),
      (socket: Socket) => {
        const pour = (): void => {
          while (!socket.destroyed && socket.write(block));
        };
        socket.on('drain', pour);
        pour();
      },
    ]) {
      const port = await servers.listen(serve);
      const { run, strays } = probing(grpcCheck(), { port });
      expect((await run(1000)).result).toBe('fail');
      await until(() => servers.connections === 0);
      expect(strays).toEqual([]);
    }
  });

  it('asks over TLS, verifying the certificate unless told not to', async () => {
    const caFile = 'ca.pem';
    const valid = await serving(reply(SERVING), { cert: 'valid.pem' });
    const good = probing(grpcCheck({ caFile, tls: true }), { port: valid.port });
    for (let count = 0; count < 2; count++) expect(await good.run()).toEqual({ result: 'pass', text: 'SERVING' });
    expect(valid.sessions).toHaveLength(1);
    good.probe.close();
    const named = probing(grpcCheck({ caFile, tls: true, host: 'web.example' }), { port: valid.port });
    expect((await named.run()).result).toBe('pass');
    expect(valid.calls.at(-1)!.headers[':authority']).toBe('web.example');
    named.probe.close();

    const expired = await serving(reply(SERVING), { cert: 'expired.pem' });
    expect((await probing(grpcCheck({ caFile, tls: true }), { port: expired.port }).run()).text).toBe(
      'TLS: the certificate has expired',
    );
    const trusting = probing(grpcCheck({ caFile, tls: true, verifyTls: false }), { port: expired.port });
    expect((await trusting.run()).result).toBe('pass');
    trusting.probe.close();
  });

  it('may be ended within a run, and reports nothing afterwards', async () => {
    const { port, calls } = await serving(() => undefined);
    const { probe, strays } = probing(grpcCheck(), { port });
    probe.start();
    await until(() => calls.length === 1);
    probe.close();
    probe.start();
    probe.close();
    await until(() => servers.connections === 0);
    expect(strays).toEqual([]);
  });
});

describe('the messages of the health service', () => {
  it('encodes names of any length', () => {
    expect(encodeCheckRequest('')).toEqual(Buffer.alloc(5));
    const long = encodeCheckRequest('x'.repeat(300));
    expect([...long.subarray(0, 8)]).toEqual([0, 0, 0, 1, 0x2f, 0x0a, 0xac, 0x02]);
    expect(long.length).toBe(5 + 3 + 300);
  });

  it('skips fields it does not know, and takes the last status as protobuf does', () => {
    expect(
      decodeCheckResponse(message(0x12, 2, 1, 1, 0x08, 2, 0x1d, 0, 0, 0, 0, 0x21, 0, 0, 0, 0, 0, 0, 0, 0, 0x08, 1)),
    ).toBe('SERVING');
  });

  it.each([
    ['a compressed message', Buffer.from([1, 0, 0, 0, 2, 8, 1])],
    ['a message cut off', Buffer.from([0, 0, 0, 0, 3, 8, 1])],
    ['two messages', Buffer.concat([SERVING, SERVING])],
    ['a field past the end', message(0x12, 200, 1)],
    ['an endless number', message(0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff)],
    ['a status of another type', message(0x0a, 1, 1)],
    ['an unknown status', message(0x08, 9)],
    ['a group', message(0x0b)],
  ])('refuses %s', (_name, bytes) => {
    expect(decodeCheckResponse(bytes)).toBeUndefined();
  });

  it('never throws', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => {
        const framed = message(...bytes);
        for (const body of [Buffer.from(bytes), framed]) expect(() => decodeCheckResponse(body)).not.toThrow();
      }),
    );
  });
});
