import net from 'node:net';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { seededRandom } from '../../src/core/random.ts';
import { metric, openFiles } from './gauges.ts';
import { eventually, GatewayProcess, request } from './world.ts';

vi.setConfig({ testTimeout: 60_000 });

const stops: (() => unknown)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0).reverse()) await stop();
});

type Framing = 'length' | 'chunked' | 'until-close';
type End = 'fin' | 'rst';

/** A whole response; the cut takes off at least its last byte, and leaves at least its head. */
function response(framing: Framing, bodyBytes: number): { readonly bytes: Buffer; readonly headEnd: number } {
  const body = Buffer.alloc(bodyBytes, 'fairlead');
  const head = {
    length: `Content-Length: ${bodyBytes}\r\n`,
    chunked: 'Transfer-Encoding: chunked\r\n',
    'until-close': 'Connection: close\r\n',
  }[framing];
  const start = Buffer.from(`HTTP/1.1 200 OK\r\n${head}\r\n`);
  if (framing !== 'chunked') return { bytes: Buffer.concat([start, body]), headEnd: start.length };
  const parts: Buffer[] = [start];
  for (let at = 0; at < bodyBytes; at += 9000) {
    const part = body.subarray(at, at + 9000);
    parts.push(Buffer.from(`${part.length.toString(16)}\r\n`), part, Buffer.from('\r\n'));
  }
  return { bytes: Buffer.concat([...parts, Buffer.from('0\r\n\r\n')]), headEnd: start.length };
}

const random = seededRandom(20_261_121);

/** `/FRAMING/END`: cut at a random place, by FIN or RST, at once or a moment after what came before. */
async function cuttingOrigin(): Promise<number> {
  const server = net.createServer((socket) => {
    socket.on('error', () => undefined);
    socket.once('data', (bytes) => {
      const [, framing, end] = /^GET \/([\w-]+)\/(\w+)/.exec(bytes.toString('latin1')) ?? [];
      if (framing === undefined) {
        socket.end('HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok');
        return;
      }
      const whole = response(framing as Framing, [10, 5000, 300_000][Math.floor(random() * 3)]!);
      const length = whole.bytes.length - whole.headEnd;
      // Also right after the head, and right before the last byte.
      const spot = [0, length - 1, Math.floor(random() * length)][Math.floor(random() * 3)]!;
      const cut = (): unknown => ((end as End) === 'rst' ? socket.resetAndDestroy() : socket.end());
      socket.write(whole.bytes.subarray(0, whole.headEnd + spot), () => {
        if (random() < 0.5) cut();
        else setTimeout(cut, 2);
      });
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  stops.push(() => server.close());
  return (server.address() as net.AddressInfo).port;
}

interface Seen {
  readonly bytes: Buffer;
  /** The connection ended by FIN, so that a message without a length of its own would be whole. */
  readonly clean: boolean;
}

function get(port: number, path: string, version: string): Promise<Seen> {
  return new Promise((resolve, reject) => {
    const parts: Buffer[] = [];
    let failed = false;
    const socket = net.connect(port, '127.0.0.1');
    socket.setTimeout(10_000, () => reject(new Error(`no end of ${path}`)));
    socket.on('data', (bytes) => parts.push(bytes));
    socket.on('error', () => (failed = true));
    socket.on('close', () => {
      socket.setTimeout(0);
      resolve({ bytes: Buffer.concat(parts), clean: !failed });
    });
    socket.write(`GET ${path} HTTP/${version}\r\nHost: web.localhost\r\n\r\n`);
  });
}

/** What a client would make of it. */
function looksWhole({ bytes, clean }: Seen): boolean {
  const headEnd = bytes.indexOf('\r\n\r\n');
  if (headEnd < 0) return false;
  const head = bytes.toString('latin1', 0, headEnd);
  const length = /content-length: (\d+)/i.exec(head)?.[1];
  if (length !== undefined) return bytes.length - headEnd - 4 >= Number(length);
  if (/transfer-encoding: chunked/i.test(head)) return bytes.subarray(headEnd).includes('\r\n0\r\n\r\n');
  return clean;
}

/** So many cuts, 20 at a time; how many of the answers looked whole. */
async function cuts(gateway: GatewayProcess, path: string, count: number, version = '1.1'): Promise<number> {
  let begun = 0;
  let whole = 0;
  let answered = 0;
  const client = async (): Promise<void> => {
    while (begun < count) {
      begun++;
      const seen = await get(gateway.port, path, version);
      if (looksWhole(seen)) whole++;
      if (seen.bytes.length > 0) {
        answered++;
        expect(seen.bytes.toString('latin1', 0, 15)).toMatch(/^HTTP\/1\.1 200 OK/);
      }
    }
  };
  await Promise.all(Array.from({ length: 20 }, client));
  expect(begun).toBe(count);
  // What had left before the cut did reach the client: not everything was thrown away.
  expect(answered).toBeGreaterThan(count / 10);
  return whole;
}

describe('an instance that breaks off in the middle of a body', () => {
  it('a thousand times: the client sees a thousand incomplete messages, and nothing is left behind', async () => {
    const port = await cuttingOrigin();
    const gateway = await GatewayProcess.start({ extra: 'defaults: { breaker: { enabled: false } }' });
    stops.push(() => gateway.stop());
    await gateway.register({ serviceName: 'web', host: '127.0.0.1', port });
    await gateway.serving('web', 1);
    expect((await request(gateway)).body).toBe('ok');
    const filesBefore = openFiles(gateway.process.pid);

    let whole = 0;
    for (const framing of ['length', 'chunked'])
      for (const end of ['fin', 'rst']) whole += await cuts(gateway, `/${framing}/${end}`, 250);
    expect(whole).toBe(0);
    // Without a length of its own, only RST tells half from whole, on either side.
    expect(await cuts(gateway, '/until-close/rst', 100)).toBe(0);
    for (const end of ['fin', 'rst']) expect(await cuts(gateway, `/chunked/${end}`, 100, '1.0')).toBe(0);

    expect((await request(gateway)).body).toBe('ok');
    await eventually('nothing is under way', async () => {
      const active = await metric(gateway, 'fairlead_connections{side="downstream",state="active"}');
      const upstream = await metric(gateway, 'fairlead_connections{side="upstream"');
      return active === 0 && upstream === 0;
    });
    expect((await gateway.explain('web')).instances[0]).toMatchObject({ inflight: 0 });
    expect(openFiles(gateway.process.pid)).toBeLessThan(filesBefore + 10);
  });
});
