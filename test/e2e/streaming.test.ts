import { readFileSync } from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { WebSocket, WebSocketServer } from 'ws';
import { eventually, GatewayProcess, pause } from './world.ts';

vi.setConfig({ testTimeout: 240_000 });

const stops: (() => unknown)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0).reverse()) await stop();
});

const GIB = 1_073_741_824;
const MIB = 1_048_576;

async function serve(handler: http.RequestListener): Promise<{ server: http.Server; port: number }> {
  const server = http.createServer(handler);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  stops.push(() => {
    server.closeAllConnections();
    server.close();
  });
  return { server, port: (server.address() as net.AddressInfo).port };
}

async function gatewayTo(port: number): Promise<GatewayProcess> {
  const gateway = await GatewayProcess.start();
  stops.push(() => gateway.stop());
  await gateway.register({ serviceName: 'web', host: '127.0.0.1', port });
  await gateway.serving('web', 1);
  return gateway;
}

function residentMiB(pid: number): number {
  const pages = Number(readFileSync(`/proc/${pid}/statm`, 'utf8').split(' ')[1]);
  return (pages * 4096) / MIB;
}

/** The largest resident size while `work` runs. */
async function peakWhile(pid: number, work: Promise<unknown>): Promise<number> {
  let peak = residentMiB(pid);
  const timer = setInterval(() => (peak = Math.max(peak, residentMiB(pid))), 50);
  await work;
  clearInterval(timer);
  return peak;
}

describe('1 GiB', () => {
  it('goes up from a client and into a slow instance with less than 64 MiB of growth', async () => {
    let received = 0;
    const { port } = await serve((request, response) => {
      request.on('data', (chunk: Buffer) => {
        received += chunk.length;
        // An instance that is slower than its client holds the client back.
        request.pause();
        setImmediate(() => request.resume());
      });
      request.on('end', () => response.end('done'));
    });
    const gateway = await gatewayTo(port);
    const before = residentMiB(gateway.process.pid);
    const chunk = Buffer.alloc(256 * 1024, 7);
    const upload = new Promise<string>((resolve, reject) => {
      const request = http.request(
        {
          host: '127.0.0.1',
          port: gateway.port,
          method: 'POST',
          headers: { host: 'web.localhost', 'content-length': GIB },
        },
        (response) => {
          let text = '';
          response.on('data', (part: Buffer) => (text += part.toString()));
          response.on('end', () => resolve(text));
        },
      );
      request.on('error', reject);
      let left = GIB;
      const more = (): void => {
        while (left > 0) {
          left -= chunk.length;
          if (!request.write(chunk)) {
            request.once('drain', more);
            return;
          }
        }
        request.end();
      };
      more();
    });
    const peak = await peakWhile(gateway.process.pid, upload);
    expect(await upload).toBe('done');
    expect(received).toBe(GIB);
    expect(peak - before).toBeLessThan(64);
  });

  it('comes down to a client that reads 10 MB/s at first and then all of it, with less than 64 MiB of growth', async () => {
    const chunk = Buffer.alloc(256 * 1024, 9);
    const { port } = await serve((_, response) => {
      response.setHeader('content-length', GIB);
      let left = GIB;
      const more = (): void => {
        while (left > 0) {
          left -= chunk.length;
          if (!response.write(chunk)) {
            response.once('drain', more);
            return;
          }
        }
        response.end();
      };
      more();
    });
    const gateway = await gatewayTo(port);
    const before = residentMiB(gateway.process.pid);
    const download = new Promise<number>((resolve, reject) => {
      http
        .get({ host: '127.0.0.1', port: gateway.port, headers: { host: 'web.localhost' } }, (response) => {
          const began = performance.now();
          let received = 0;
          response.on('data', (part: Buffer) => {
            received += part.length;
            const dueMs = received / 10_000;
            const earlyMs = dueMs - (performance.now() - began);
            // The first 50 MB at 10 MB/s: five seconds in which everything is backed up behind a slow reader.
            if (received > 50_000_000 || earlyMs < 5) return;
            response.pause();
            setTimeout(() => response.resume(), earlyMs);
          });
          response.on('end', () => resolve(received));
          response.on('error', reject);
        })
        .on('error', reject);
    });
    const peak = await peakWhile(gateway.process.pid, download);
    expect(await download).toBe(GIB);
    expect(peak - before).toBeLessThan(64);
  });
});

describe('a client that leaves in the middle of its upload', () => {
  it('ends the connection to the instance within 100 ms, and charges no breaker', async () => {
    let closedAt = 0;
    const { port } = await serve((request) => {
      request.resume();
      request.on('close', () => (closedAt = performance.now()));
    });
    const gateway = await gatewayTo(port);
    const socket = net.connect(gateway.port, '127.0.0.1');
    socket.write('POST / HTTP/1.1\r\nHost: web.localhost\r\nContent-Length: 100000000\r\n\r\n');
    const more = setInterval(() => socket.write(Buffer.alloc(65_536)), 5);
    await pause(300);
    clearInterval(more);
    const goneAt = performance.now();
    socket.destroy();
    await eventually('the instance sees the end', () => closedAt > 0, 3000);
    expect(closedAt - goneAt).toBeLessThan(100);
    const { instances } = await gateway.explain('web');
    expect(instances[0]).toMatchObject({ state: 'available', inflight: 0, failures: 0 });
  });
});

describe('WebSocket', () => {
  it('carries 100 connections and 100,000 messages, and keeps close codes', async () => {
    const { server, port } = await serve((_, response) => response.end('not a websocket'));
    const sockets = new WebSocketServer({ server });
    sockets.on('connection', (socket) => {
      socket.on('message', (data, binary) => socket.send(data, { binary }));
      socket.on('close', (code) => codes.push(code));
    });
    const codes: number[] = [];
    const gateway = await gatewayTo(port);
    const echoed = await Promise.all(
      Array.from({ length: 100 }, (_, number) => {
        return new Promise<number>((resolve, reject) => {
          const socket = new WebSocket(`ws://127.0.0.1:${gateway.port}/`, { headers: { host: 'web.localhost' } });
          let sent = 0;
          let received = 0;
          const next = (): void => {
            for (; sent < 1000 && sent - received < 20; sent++) socket.send(`${number}:${sent}`);
          };
          socket.on('open', next);
          socket.on('message', (data) => {
            if ((data as Buffer).toString() !== `${number}:${received}`) reject(new Error('out of order'));
            if (++received === 1000) socket.close(4000 + number, 'bye');
            else next();
          });
          socket.on('close', (code) =>
            code === 4000 + number ? resolve(received) : reject(new Error(`closed with ${code}`)),
          );
          socket.on('error', reject);
        });
      }),
    );
    expect(echoed.reduce((sum, count) => sum + count, 0)).toBe(100_000);
    await eventually('all closed at the instance', () => codes.length === 100);
    expect([...codes].sort((a, b) => a - b)).toEqual(Array.from({ length: 100 }, (_, number) => 4000 + number));
    const { instances } = await gateway.explain('web');
    expect(instances[0]?.inflight).toBe(0);
  });
});
