import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import type { LookupFunction } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { AddressPolicy } from '../../../src/core/address.ts';
import { tcpCheck } from '../fixtures.ts';
import { closedPort, probing as probingBy, type Running, TestServers, until } from './run.ts';

const servers = new TestServers();
afterEach(() => servers.stop());

describe.each([
  ['on bare handles', false],
  ['on sockets', true],
])('TcpProbe %s', (_name, plainSockets) => {
  const probing = (...[check, to, options]: Parameters<typeof probingBy>): Running =>
    probingBy(check, to, { plainSockets, ...options });

  it('passes as soon as the connection is made, and leaves none behind on either side', async () => {
    let ended: string | undefined;
    const port = await servers.listen((socket) => {
      socket.on('error', (error: NodeJS.ErrnoException) => (ended = error.code));
      socket.on('end', () => (ended ??= 'FIN'));
      socket.resume();
    });
    const { run } = probing(tcpCheck(), { port });
    expect(await run()).toEqual({ result: 'pass', text: 'connected' });
    // Which it may not have accepted yet.
    await until(() => ended !== undefined && servers.connections === 0);
    // By RST: nothing of ours stays in TIME_WAIT.
    expect(ended).toBe('ECONNRESET');
    if (existsSync('/proc/net/tcp')) {
      const timeWait = new RegExp(` 0100007F:${port.toString(16).toUpperCase().padStart(4, '0')} 06 `);
      expect(readFileSync('/proc/net/tcp', 'latin1')).not.toMatch(timeWait);
    }
  });

  it('fails where nobody listens', async () => {
    const { run } = probing(tcpCheck(), { port: await closedPort() });
    expect(await run()).toEqual({ result: 'fail', text: 'connection refused' });
  });

  it('cannot see that a stopped process still has its listening socket: other checks have to', async () => {
    const child = spawn(process.execPath, [
      '-e',
      "require('net').createServer().listen(0,'127.0.0.1',function(){console.log(this.address().port)})",
    ]);
    try {
      const port = await new Promise<number>((resolve) =>
        child.stdout.once('data', (data: Buffer) => resolve(Number(data.toString()))),
      );
      child.kill('SIGSTOP');
      const { run } = probing(tcpCheck(), { port });
      expect(await run()).toEqual({ result: 'pass', text: 'connected' });
    } finally {
      child.kill('SIGKILL');
    }
  });

  it('gives up at the deadline where nothing answers, and says so', async () => {
    // TEST-NET-1 is routed nowhere; where the machine refuses at once, there is no deadline to test.
    const { run, strays } = probing(tcpCheck(), { host: '192.0.2.1', port: 9 });
    const answer = await run(200);
    expect(answer.result).toBe('fail');
    expect([
      'no connection within 200ms',
      'network unreachable',
      'no route to the host',
      'connection refused',
    ]).toContain(answer.text);
    expect(strays).toEqual([]);
  });

  it('fails for a name that does not resolve, and within the deadline for a resolver that hangs', async () => {
    const unknown = probing(tcpCheck(), { host: 'no-such-host.invalid', port: 80 });
    const answer = await unknown.run(3000);
    expect(answer.result).toBe('fail');
    expect(answer.text).toMatch(/does not resolve|name server does not answer|no connection within/);
    const hanging = probing(tcpCheck(), { host: 'web.example', port: 80 }, { lookup: () => undefined });
    expect(await hanging.run(100)).toEqual({ result: 'fail', text: 'no connection within 100ms' });
  });

  it('connects to what the resolver says, and refuses what the address policy refuses, named or numeric', async () => {
    const port = await servers.listen((socket) => socket.resume());
    const lookup =
      (address: string): LookupFunction =>
      (_name, options, done) => {
        if (options.all === true) done(null, [{ address, family: 4 }]);
        else done(null, address, 4);
      };
    const open = new AddressPolicy({ allowLoopback: true });
    const closed = new AddressPolicy();
    const named = { host: 'web.example', port };
    expect(await probing(tcpCheck(), named, { lookup: lookup('127.0.0.1'), addresses: open }).run()).toEqual({
      result: 'pass',
      text: 'connected',
    });
    const refusals = [
      probing(tcpCheck(), named, { lookup: lookup('127.0.0.1'), addresses: closed }),
      probing(tcpCheck(), named, { lookup: lookup('169.254.169.254'), addresses: open }),
      probing(tcpCheck(), { port }, { addresses: closed }),
      probing(tcpCheck(), { host: '169.254.169.254', port }, { addresses: open }),
    ];
    for (const { run } of refusals) {
      const answer = await run();
      expect(answer.result).toBe('fail');
      expect(answer.text).toMatch(/loopback|link-local/);
    }
  });

  it('takes a port that is none for a failure of the check', async () => {
    expect(await probing(tcpCheck(), { port: 70_000 }).run()).toEqual({ result: 'fail', text: 'the port is none' });
  });
});
