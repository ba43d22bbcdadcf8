import { closeSync, openSync } from 'node:fs';
import net from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { SocketKeeper } from '../../src/http1/kept-socket.ts';
import { mistakeOf, openListening } from '../../src/http1/listening-socket.ts';
import { silentLogger } from '../../src/telemetry/log.ts';
import { Place } from '../../src/worker/place.ts';

const closes: (() => unknown)[] = [];
afterEach(() => {
  for (const close of closes.splice(0)) close();
});

/** A descriptor of a listening socket, and its port. */
async function listening(): Promise<{ fd: number; port: number }> {
  const keeper = await SocketKeeper.open();
  if (!keeper) throw new Error('needs Linux');
  const kept = await keeper.bind('127.0.0.1', 0, false);
  closes.push(() => kept.close());
  return { fd: await kept.duplicate(), port: kept.port };
}

async function place(fd: number, host: string, port: number): Promise<void> {
  const made = new Place(await SocketKeeper.open(), [], silentLogger);
  await made.open({ host, port, reusePort: true }, { fds: [fd], held: true });
}

describe('an inherited socket', () => {
  it.each([
    ['127.0.0.1', 80, undefined],
    ['localhost', 80, undefined],
    ['127.0.0.1', 0, undefined],
    ['127.0.0.1', 81, 'descriptor 3 is 127.0.0.1:80, not 127.0.0.1:81'],
    ['0.0.0.0', 80, 'descriptor 3 is 127.0.0.1:80, not 0.0.0.0:80'],
    ['::1', 80, 'descriptor 3 is 127.0.0.1:80, not ::1:80'],
  ])('at 127.0.0.1:80 is compared with %s:%i', (host, port, mistake) => {
    expect(mistakeOf(3, { host: '127.0.0.1', port: 80 }, { host, port })).toBe(mistake);
  });

  it('may be written in another way', () => {
    expect(mistakeOf(3, { host: '::1', port: 80 }, { host: '0:0:0:0:0:0:0:1', port: 80 })).toBeUndefined();
    expect(mistakeOf(3, { host: '::', port: 80 }, { host: '0.0.0.0', port: 80 })).toContain('is :::80');
  });

  it('of another port or a wider address is refused, for clients and for operators', async () => {
    const { fd, port } = await listening();
    await expect(place(fd, '127.0.0.1', port + 1)).rejects.toThrow(`descriptor ${fd} is 127.0.0.1:${port}, not`);
    const wider = await listening();
    const asked = { host: '127.0.0.2', port: wider.port, fd: wider.fd };
    await expect(openListening(net.createServer(), asked)).rejects.toThrow(/is 127\.0\.0\.1:\d+, not 127\.0\.0\.2/);
  });

  it('that is a file is refused', async () => {
    const fd = openSync('/dev/null', 'r');
    closes.push(() => {
      try {
        closeSync(fd);
      } catch {
        // It was closed with the refusal.
      }
    });
    await expect(place(fd, '127.0.0.1', 8080)).rejects.toThrow(/no TCP socket|EINVAL|ENOTSOCK|EPERM/);
  });
});
