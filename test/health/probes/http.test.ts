import { spawn } from 'node:child_process';
import http from 'node:http';
import https from 'node:https';
import type { Socket } from 'node:net';
import tls from 'node:tls';
import { afterEach, describe, expect, it } from 'vitest';
import type { Check } from '../../../src/core/check.ts';
import { ManualClock } from '../../../src/core/clock.ts';
import type { Probe, ProbeAnswer, Report } from '../../../src/health/probe.ts';
import { hostNameOf } from '../../../src/health/probes/connect.ts';
import { createProbeFactory } from '../../../src/health/probes/create.ts';
import { requestTemplate } from '../../../src/health/probes/http-request.ts';
import { httpCheck } from '../fixtures.ts';
import { certificate, closedPort, probing as probingBy, type Running, TestServers, until } from './run.ts';

const servers = new TestServers();
afterEach(() => servers.stop());

/** Answers each request with these bytes, and keeps what was asked. */
async function answering(reply: string | ((socket: Socket, count: number) => void)) {
  const requests: string[] = [];
  let connections = 0;
  const port = await servers.listen((socket) => {
    connections++;
    socket.on('data', (data) => {
      requests.push(data.toString('latin1'));
      if (typeof reply === 'string') socket.write(reply, 'latin1');
      else reply(socket, requests.length);
    });
  });
  return { port, requests, connections: () => connections };
}

const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';

describe.each([
  ['on bare handles', false],
  ['on sockets', true],
])('HttpProbe %s', (_name, plainSockets) => {
  const probing = (...[check, to, options]: Parameters<typeof probingBy>): Running =>
    probingBy(check, to, { plainSockets, ...options });

  it('asks what the check says and passes on an expected status', async () => {
    const { port, requests } = await answering(OK);
    const check = httpCheck({
      path: '/health?full=1',
      headers: [
        ['X-Probe', 'yes'],
        ['user-agent', 'mine'],
      ],
    });
    expect(await probing(check, { port }).run()).toEqual({ result: 'pass', text: 'status 200' });
    expect(requests).toEqual([
      `GET /health?full=1 HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nuser-agent: mine\r\nAccept: */*\r\nX-Probe: yes\r\n\r\n`,
    ]);
  });

  it('sends the host of the check, and the length of an empty body where the method has one', async () => {
    const { port, requests } = await answering(OK);
    await probing(httpCheck({ host: 'web.example', method: 'POST' }), { port }).run();
    expect(requests[0]).toContain('Host: web.example\r\n');
    expect(requests[0]).toContain('Content-Length: 0\r\n');
  });

  it('uses one connection again and again where the server lets it', async () => {
    const { port, connections, requests } = await answering(
      'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n',
    );
    const { run, probe } = probing(httpCheck(), { port });
    for (let count = 0; count < 5; count++) expect((await run()).result).toBe('pass');
    expect([requests.length, connections()]).toEqual([5, 1]);
    probe.close();
    await until(() => servers.connections === 0);
  });

  it('keeps no connection beyond the number that all probes together may keep', async () => {
    const { port, connections } = await answering(OK);
    const { run } = probing(httpCheck(), { port }, { maxKept: 0 });
    for (let count = 0; count < 3; count++) expect((await run()).result).toBe('pass');
    expect(connections()).toBe(3);
  });

  it.each([
    ['says that it closes', 'HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok'],
    ['speaks HTTP/1.0', 'HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok'],
    ['sends more than it announced', `${OK}surplus`],
  ])('does not use the connection again where the server %s', async (_name, reply) => {
    const { port, connections } = await answering(reply);
    const { run } = probing(httpCheck(), { port });
    for (let count = 0; count < 2; count++) expect((await run()).result).toBe('pass');
    expect(connections()).toBe(2);
  });

  it('gives up an idle connection that the server closes or writes on', async () => {
    for (const spoil of [
      (socket: Socket) => socket.end(),
      (socket: Socket) => socket.write(OK),
      (socket: Socket) => socket.resetAndDestroy(),
    ]) {
      const { port, connections } = await answering((socket) => {
        socket.write(OK);
        setTimeout(() => spoil(socket), 20);
      });
      const { run, strays } = probing(httpCheck(), { port });
      expect((await run()).result).toBe('pass');
      await until(() => servers.connections === 0);
      expect((await run()).result).toBe('pass');
      expect(connections()).toBe(2);
      expect(strays).toEqual([]);
    }
  });

  it.each([
    ['reset', (socket: Socket) => socket.resetAndDestroy()],
    ['closed', (socket: Socket) => socket.end()],
  ])('asks once more on a new connection where a kept one is %s without an answer', async (_name, kill) => {
    let requests = 0;
    const { port, connections } = await answering((socket) => {
      requests++;
      if (requests === 2) kill(socket);
      else socket.write(OK);
    });
    const { run } = probing(httpCheck(), { port });
    expect((await run()).result).toBe('pass');
    expect((await run()).result).toBe('pass');
    expect([requests, connections()]).toEqual([3, 2]);
  });

  it('does not ask twice where a new connection breaks, nor where an answer had begun', async () => {
    const fresh = await answering((socket) => socket.resetAndDestroy());
    expect(await probing(httpCheck(), { port: fresh.port }).run()).toEqual({
      result: 'fail',
      text: 'connection reset',
    });
    expect(fresh.requests).toHaveLength(1);

    const begun = await answering((socket, count) =>
      count === 1 ? socket.write(OK) : socket.end('HTTP/1.1 200 OK\r\n'),
    );
    const { run } = probing(httpCheck(), { port: begun.port });
    expect((await run()).result).toBe('pass');
    expect(await run()).toEqual({ result: 'fail', text: 'the connection was closed before an answer' });
    expect(begun.requests).toHaveLength(2);
  });

  it.each<[string, string, Parameters<typeof httpCheck>[0], string]>([
    [
      'a wrong status',
      'HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n',
      {},
      'status 503, expected 200-399',
    ],
    [
      'a status outside of several ranges',
      'HTTP/1.1 204 No Content\r\n\r\n',
      {
        statuses: [
          [200, 200],
          [300, 302],
        ],
      },
      'status 204, expected 200, 300-302',
    ],
    [
      'a redirect, which it does not follow',
      'HTTP/1.1 302 Found\r\nLocation: /login?secret=1\r\nContent-Length: 0\r\n\r\n',
      { statuses: [[200, 299]] },
      'status 302, expected 200-299 (redirects are not followed)',
    ],
    [
      'a body without the text',
      OK,
      { bodyContains: 'fine' },
      'status 200, but the body does not hold the text expected',
    ],
    ['what is not HTTP', 'SSH-2.0-OpenSSH_9.2p1\r\n', {}, 'the answer is not HTTP/1'],
    [
      'both kinds of framing',
      'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
      {},
      'it has both Content-Length and Transfer-Encoding',
    ],
    [
      'a switch of protocols',
      'HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n',
      {},
      'it switches protocols, which nobody has asked for',
    ],
  ])('fails on %s', async (_name, reply, part, text) => {
    const { port } = await answering(reply);
    expect(await probing(httpCheck(part), { port }).run()).toEqual({ result: 'fail', text });
  });

  it('finds the text in a body that comes in pieces, and skips interim answers', async () => {
    const { port } = await answering((socket) => {
      socket.write(
        'HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nI am\r\n',
      );
      setTimeout(() => socket.write('5\r\n feel\r\n'), 15);
      setTimeout(() => socket.write('9\r\ning fine!\r\n0\r\n\r\n'), 30);
    });
    expect((await probing(httpCheck({ bodyContains: 'am feeling fine' }), { port }).run()).result).toBe('pass');
  });

  it('expects no body of a HEAD request', async () => {
    const { port } = await answering('HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n');
    const { run } = probing(httpCheck({ method: 'HEAD' }), { port });
    expect((await run()).result).toBe('pass');
    expect((await run()).result).toBe('pass');
  });

  it('reads a body to the end of the connection, and takes a cut-off one for a failure', async () => {
    const whole = await answering((socket) => socket.end('HTTP/1.1 200 OK\r\n\r\nall fine'));
    expect((await probing(httpCheck({ bodyContains: 'all fine' }), { port: whole.port }).run()).result).toBe('pass');
    const cut = await answering((socket) => socket.end('HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nall fine'));
    expect((await probing(httpCheck(), { port: cut.port }).run()).text).toBe(
      'the connection was closed within the answer',
    );
    const reset = await answering((socket) => {
      socket.write('HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nall fine');
      setTimeout(() => socket.resetAndDestroy(), 20);
    });
    expect((await probing(httpCheck(), { port: reset.port }).run()).text).toBe('connection reset within the answer');
  });

  it('bounds a body of a gigabyte and one without end, and says what is wrong', async () => {
    const block = 'x'.repeat(65_536);
    for (const head of ['HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n', 'HTTP/1.1 200 OK\r\n\r\n']) {
      let sent = 0;
      const { port } = await answering((socket) => {
        socket.write(head);
        const pour = (): void => {
          while (!socket.destroyed && socket.write(block)) sent += block.length;
        };
        socket.on('drain', pour);
        pour();
      });
      const { run } = probing(httpCheck(), { port });
      expect(await run()).toEqual({
        result: 'fail',
        text: 'status 200, but the body is longer than 64 KiB: let the check ask for less, or by HEAD',
      });
      await until(() => servers.connections === 0);
      expect(sent).toBeLessThan(50_000_000);
    }
  });

  it('looks for the text in the first 64 KiB alone', async () => {
    const early = await answering(`HTTP/1.1 200 OK\r\nContent-Length: 100004\r\n\r\nfine${'x'.repeat(100_000)}`);
    expect((await probing(httpCheck({ bodyContains: 'fine' }), { port: early.port }).run()).result).toBe('pass');
    const late = await answering(`HTTP/1.1 200 OK\r\nContent-Length: 100004\r\n\r\n${'x'.repeat(100_000)}fine`);
    expect((await probing(httpCheck({ bodyContains: 'fine' }), { port: late.port }).run()).text).toBe(
      'status 200, but the first 64 KiB of the body do not hold the text expected',
    );
  });

  it('bounds a head without end', async () => {
    const { port } = await answering((socket) => {
      socket.write('HTTP/1.1 200 OK\r\n');
      const pour = (): void => {
        while (!socket.destroyed && socket.write('X-Filler: 0123456789012345678901234567890123456789\r\n'));
      };
      socket.on('drain', pour);
      pour();
    });
    expect(await probing(httpCheck(), { port }).run()).toEqual({
      result: 'fail',
      text: 'its head is longer than 32 KiB',
    });
  });

  it('says at the deadline how far it had got', async () => {
    const drip = (bytes: string) => (socket: Socket) => {
      let at = 0;
      const timer = setInterval(
        () => (socket.destroyed ? clearInterval(timer) : socket.write(bytes[at++ % bytes.length] ?? '')),
        10,
      );
    };
    const cases: [(socket: Socket) => unknown, string][] = [
      [() => undefined, 'no answer within 150ms'],
      [(socket) => socket.write('HTTP/1.1 200 OK\r\nContent-'), 'no complete head of an answer within 150ms'],
      [drip('HTTP/1.1 200 OK and so on and on'), 'no complete head of an answer within 150ms'],
      [
        (socket) => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel'),
        'status 200, but no end of the body within 150ms',
      ],
      [
        (socket) => {
          socket.write('HTTP/1.1 200 OK\r\n\r\n');
          drip('x')(socket);
        },
        'status 200, but no end of the body within 150ms',
      ],
    ];
    for (const [serve, text] of cases) {
      const { port } = await answering(serve);
      const { run, strays } = probing(httpCheck(), { port });
      expect(await run(150)).toEqual({ result: 'fail', text });
      await until(() => servers.connections === 0);
      expect(strays).toEqual([]);
    }
  });

  it('finds a stopped process out, which accepts connections and never answers', async () => {
    const program = `require('http').createServer((q,r)=>r.end('ok')).listen(0,'127.0.0.1',function(){console.log(this.address().port)})`;
    const child = spawn(process.execPath, ['-e', program]);
    try {
      const port = await new Promise<number>((resolve) =>
        child.stdout.once('data', (data: Buffer) => resolve(Number(data.toString()))),
      );
      const { run, probe } = probing(httpCheck(), { port });
      expect((await run()).result).toBe('pass');
      child.kill('SIGSTOP');
      expect((await run(200)).text).toBe('no answer within 200ms');
      expect((await run(200)).text).toBe('no answer within 200ms');
      child.kill('SIGCONT');
      expect((await run()).result).toBe('pass');
      probe.close();
    } finally {
      child.kill('SIGKILL');
    }
  });

  it('fails where nobody listens', async () => {
    expect(await probing(httpCheck(), { port: await closedPort() }).run()).toEqual({
      result: 'fail',
      text: 'connection refused',
    });
  });

  it.each<[string, Parameters<typeof httpCheck>[0], RegExp]>([
    ['a line break in the path', { path: '/a HTTP/1.1\r\nX: y' }, /path/],
    ['a path without a slash', { path: 'health' }, /path/],
    ['a fragment', { path: '/a#b' }, /path/],
    ['a line break in a header', { headers: [['X', 'a\r\nY: b']] }, /header x/],
    ['a header name with a colon', { headers: [['X: y', 'a']] }, /header name/],
    ['framing of its own', { headers: [['Content-Length', '5']] }, /content-length/],
    ['framing of its own, chunked', { headers: [['transfer-encoding', 'chunked']] }, /transfer-encoding/],
    ['a line break in the method', { method: 'GET /\r\n' }, /method/],
    ['a tunnel', { method: 'CONNECT' }, /method/],
    ['a line break in the host', { host: 'a\r\nb' }, /host/],
  ])('sends nothing at all for a check with %s', async (_name, part, text) => {
    const { port, connections } = await answering(OK);
    const answer = await probing(httpCheck(part), { port }).run();
    expect(answer.result).toBe('fail');
    expect(answer.text).toMatch(text);
    expect(connections()).toBe(0);
  });

  it('sends nothing to an instance whose host is none, and brackets an IPv6 address', async () => {
    const answer = await probing(httpCheck(), { host: 'a b\r\nX: y', port: 80 }).run();
    expect(answer).toEqual({ result: 'fail', text: 'the host of the instance is not valid' });
    const to = (host: string, port: number) => ({ service: 'web', id: 'web-1', host, port });
    const { textFor } = requestTemplate(httpCheck(), 'test');
    expect(textFor(to('fd00::1', 8080))).toContain('\r\nHost: [fd00::1]:8080\r\n');
    expect(textFor(to('fd00::1', 80))).toContain('\r\nHost: [fd00::1]\r\n');
    expect(textFor(to('web', 443))).toContain('\r\nHost: web:443\r\n');
    expect(requestTemplate(httpCheck({ type: 'https' }), 'test').textFor(to('web', 443))).toContain(
      '\r\nHost: web\r\n',
    );
    expect(['web', 'web:80', '[fd00::1]', '[fd00::1]:443'].map(hostNameOf)).toEqual([
      'web',
      'web',
      'fd00::1',
      'fd00::1',
    ]);
  });

  it('never repeats in its evidence what the instance sent', async () => {
    const secret = 'S3CR3T';
    const replies = [
      `HTTP/1.1 500 ${secret}\r\nX-${secret}: ${secret}\r\nContent-Length: 6\r\n\r\n${secret}`,
      `HTTP/1.1 200 OK\r\nContent-Length: ${secret}\r\n\r\n`,
      `${secret}\r\n\r\n`,
      `HTTP/1.1 200 OK\r\n${secret} : x\r\n\r\n`,
      `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n${secret}`,
    ];
    for (const reply of replies) {
      const { port } = await answering(reply);
      const answer = await probing(httpCheck({ bodyContains: 'x' }), { port }).run();
      expect(answer.result).toBe('fail');
      expect(answer.text).not.toContain(secret);
    }
  });

  it('may be ended within a run, and reports nothing afterwards', async () => {
    const { port } = await answering(() => undefined);
    const { probe, strays } = probing(httpCheck(), { port });
    probe.start();
    await until(() => servers.connections === 1);
    probe.close();
    await until(() => servers.connections === 0);
    probe.start();
    probe.close();
    probe.close();
    await until(() => servers.connections === 0);
    expect(strays).toEqual([]);
  });

  it('works with the servers of Node, kept alive', async () => {
    let connections = 0;
    const server = http.createServer((_request, response) => response.end('fine'));
    const port = await servers.listen(() => connections++, server);
    const { run, probe } = probing(httpCheck({ bodyContains: 'fine' }), { port });
    for (let count = 0; count < 3; count++) expect((await run()).result).toBe('pass');
    expect(connections).toBe(1);
    probe.close();
  });
});

describe('HttpProbe over TLS', () => {
  const key = certificate('server.key');
  const caFile = 'ca.pem';

  async function secure(name: string) {
    let connections = 0;
    const names: (string | false)[] = [];
    const server = https.createServer({ key, cert: certificate(name) }, (_request, response) => response.end('fine'));
    server.on('secureConnection', (socket) => {
      connections++;
      names.push((socket as tls.TLSSocket & { servername: string | false }).servername);
    });
    server.on('tlsClientError', () => undefined);
    return { port: await servers.listen(() => undefined, server), connections: () => connections, names };
  }

  it('passes with a valid certificate, on a connection it keeps', async () => {
    const { port, connections, names } = await secure('valid.pem');
    const { run, probe } = probingBy(httpCheck({ caFile, type: 'https', bodyContains: 'fine' }), { port });
    for (let count = 0; count < 3; count++) expect(await run()).toEqual({ result: 'pass', text: 'status 200' });
    expect(connections()).toBe(1);
    // No server name for an IP address.
    expect(names).toEqual([false]);
    probe.close();
  });

  it('asks for the host of the check by name, and checks the certificate against it', async () => {
    const { port, names } = await secure('valid.pem');
    const named = httpCheck({ caFile, type: 'https', host: 'web.example:8443' });
    expect((await probingBy(named, { port }).run()).result).toBe('pass');
    expect(names).toEqual(['web.example']);
    const other = httpCheck({ caFile, type: 'https', host: 'other.example' });
    expect((await probingBy(other, { port }).run()).text).toBe('TLS: the certificate is for another host');
  });

  it.each([
    ['expired.pem', 'TLS: the certificate has expired'],
    ['other-host.pem', 'TLS: the certificate is for another host'],
    ['self-signed.pem', 'TLS: the certificate is self-signed'],
  ])('fails with %s and says why, unless told not to verify', async (name, text) => {
    const { port } = await secure(name);
    expect(await probingBy(httpCheck({ caFile, type: 'https' }), { port }).run()).toEqual({ result: 'fail', text });
    expect((await probingBy(httpCheck({ caFile, type: 'https', verifyTls: false }), { port }).run()).result).toBe(
      'pass',
    );
  });

  it('fails with an issuer that is not trusted', async () => {
    const { port } = await secure('valid.pem');
    expect((await probingBy(httpCheck({ type: 'https' }), { port }).run()).text).toMatch(
      /^TLS: the issuer of the certificate is not trusted/,
    );
  });

  it('reads the file of authorities again, and keeps what it held where that goes wrong', async () => {
    const { port } = await secure('valid.pem');
    const clock = new ManualClock();
    let content = (): string => 'not a certificate';
    const probe = (): Promise<ProbeAnswer> =>
      new Promise((resolve) => created(httpCheck({ caFile: '/ca.pem', type: 'https' }), port, resolve).start());
    const create = createProbeFactory({ clock, readFile: () => content() });
    const created = (check: Check, to: number, report: Report): Probe =>
      create({ service: 'web', id: 'web-1', host: '127.0.0.1', port: to }, check, report);
    expect(() => created(httpCheck({ caFile: '/ca.pem', type: 'https' }), port, () => undefined).start()).toThrow(
      '/ca.pem holds no certificate in PEM',
    );
    content = () => certificate('ca.pem');
    expect((await probe()).result).toBe('pass');
    content = () => {
      throw Object.assign(new Error('gone'), { code: 'ENOENT' });
    };
    clock.advance(61_000);
    expect((await probe()).result).toBe('pass');
    content = () => certificate('self-signed.pem');
    clock.advance(59_000);
    expect((await probe()).result).toBe('pass');
    clock.advance(2000);
    expect((await probe()).text).toMatch(/^TLS: the issuer of the certificate/);
  });

  it('says so where the port does not speak TLS', async () => {
    const plain = await answering('HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n');
    expect((await probingBy(httpCheck({ caFile, type: 'https' }), { port: plain.port }).run()).text).toBe(
      'TLS: the port does not speak TLS',
    );
  });

  it('says so where the handshake hangs, or the connection is closed in it', async () => {
    const mute = await servers.listen((socket) => socket.resume());
    expect((await probingBy(httpCheck({ caFile, type: 'https' }), { port: mute }).run(150)).text).toBe(
      'no TLS handshake within 150ms',
    );
    const closing = await servers.listen((socket) => socket.end());
    expect((await probingBy(httpCheck({ caFile, type: 'https' }), { port: closing }).run()).text).toMatch(
      /TLS handshake/,
    );
  });

  it('asks once more where a kept connection is dead', async () => {
    let count = 0;
    const server = tls.createServer({ key, cert: certificate('valid.pem') }, (socket) => {
      socket.on('error', () => socket.destroy());
      socket.on('data', () => (++count === 2 ? socket.destroy() : socket.write(OK)));
    });
    const port = await servers.listen(() => undefined, server);
    const { run, probe } = probingBy(httpCheck({ caFile, type: 'https' }), { port });
    for (let round = 0; round < 3; round++) expect((await run()).result).toBe('pass');
    expect(count).toBe(4);
    probe.close();
  });
});
