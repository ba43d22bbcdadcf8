import fc from 'fast-check';
import { once } from 'node:events';
import { createServer, type AddressInfo, type Socket } from 'node:net';
import { describe, expect, it } from 'vitest';
import { systemClock } from '../../../src/core/clock.ts';
import { seededRandom } from '../../../src/core/random.ts';
import { RegistryUnreachable } from '../../../src/registry/network-fault.ts';
import { frame, FrameReader } from '../../../src/registry/zookeeper/frames.ts';
import { JuteReader, JuteWriter, MalformedJute } from '../../../src/registry/zookeeper/jute.ts';
import { basePath, placeOf } from '../../../src/registry/zookeeper/paths.ts';
import { ZookeeperBackend } from '../../../src/registry/zookeeper/zookeeper-backend.ts';

describe('Jute', () => {
  it('reads back what it wrote', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }),
        fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
        fc.string({ unit: 'binary' }),
        fc.boolean(),
        (int, long, text, bool) => {
          const bytes = new JuteWriter().int(int).long(long).text(text).bool(bool).done();
          const reader = new JuteReader(bytes);
          expect([reader.int(), reader.long(), reader.text(), reader.bool(), reader.left]).toEqual([
            int,
            long,
            text,
            bool,
            0,
          ]);
        },
      ),
    );
  });

  it.each([
    ['a text longer than its message', new JuteWriter().int(10).done(), (reader: JuteReader) => reader.text()],
    ['a negative length', new JuteWriter().int(-5).done(), (reader: JuteReader) => reader.buffer()],
    ['a list of two billion', new JuteWriter().int(2_000_000_000).done(), (reader: JuteReader) => reader.texts()],
    ['a number cut off', Buffer.alloc(7), (reader: JuteReader) => reader.long()],
  ])('refuses %s', (_, bytes, read) => {
    expect(() => read(new JuteReader(bytes))).toThrow(MalformedJute);
  });
});

describe('frames', () => {
  it('come out whole, however the stream is cut', () => {
    const messages = fc.array(fc.uint8Array({ maxLength: 50 }), { maxLength: 20 });
    fc.assert(
      fc.property(messages, fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1 }), (given, cuts) => {
        const stream = Buffer.concat(given.map((each) => frame(Buffer.from(each))));
        const reader = new FrameReader(50);
        const read: Buffer[] = [];
        for (let from = 0, turn = 0; from < stream.length; turn += 1) {
          const to = from + (cuts[turn % cuts.length] ?? 1);
          read.push(...[...reader.push(stream.subarray(from, to))].map((each) => Buffer.from(each)));
          from = to;
        }
        expect(read).toEqual(given.map((each) => Buffer.from(each)));
      }),
    );
  });

  it('larger than they may be are refused at their length, before any of them is kept', () => {
    expect(() => [...new FrameReader(100).push(Buffer.from([0, 0, 0, 101]))]).toThrow(MalformedJute);
    expect(() => [...new FrameReader(100).push(Buffer.from([0xff, 0xff, 0xff, 0xff]))]).toThrow(MalformedJute);
  });
});

describe('paths', () => {
  it.each([
    ['/services', { kind: 'base' }],
    ['/services/web', { kind: 'service', service: 'web' }],
    ['/services/web/a', { kind: 'instance', service: 'web', node: 'a' }],
    ['/services/web/a/b', undefined],
    ['/services-old/web', undefined],
    ['/', undefined],
  ])('%s', (path, wanted) => {
    expect(placeOf('/services', path)).toEqual(wanted);
  });

  it('joins chroot and path, however their slashes are written', () => {
    expect([basePath('', '/services'), basePath('/app/', 'services/'), basePath('app', '')]).toEqual([
      '/services',
      '/app/services',
      '/app',
    ]);
  });
});

/** A server that says whatever it is told to, to every connection. */
async function saying(speak: (socket: Socket) => void): Promise<{ port: number } & AsyncDisposable> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    speak(socket);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await once(server.close(), 'close');
    },
  };
}

const session = frame(new JuteWriter().int(0).int(4000).long(7n).buffer(Buffer.alloc(16)).bool(false).done());
const reply = (xid: number, code: number, body = Buffer.alloc(0)): Buffer =>
  frame(Buffer.concat([new JuteWriter().int(xid).long(1n).int(code).done(), body]));

async function failureOn(speak: (socket: Socket) => void): Promise<Error> {
  await using server = await saying(speak);
  const backend = new ZookeeperBackend({
    name: 'main',
    servers: [{ host: '127.0.0.1', port: server.port }],
    chroot: '',
    path: '/services',
    layout: 'auto',
    sessionTimeoutMs: 600,
    connectMs: 300,
    requestMs: 300,
    clock: systemClock,
    random: seededRandom(1),
    onSkip: () => undefined,
  });
  try {
    for await (const event of backend.watch({ kind: 'all' }, AbortSignal.timeout(5000))) expect(event).toBe('nothing');
  } catch (error) {
    return error as Error;
  }
  throw new Error('it ended without an error');
}

describe('a server that misbehaves', () => {
  it.each([
    ['answers a request that nobody made', [session, reply(99, 0)], 'answered what ZooKeeper would not'],
    ['answers in another version', [frame(Buffer.alloc(40, 1))], 'answered what ZooKeeper would not'],
    ['sends half a session', [frame(Buffer.alloc(10))], 'answered what ZooKeeper would not'],
    ['sends a frame of two gigabytes', [session, Buffer.from([0x7f, 255, 255, 255])], 'a message of 2147483647 bytes'],
    ['sends an event of no known type', [session, reply(-1, 0, Buffer.alloc(12, 9))], 'an event of type'],
    ['refuses the watch with an unknown error', [session, reply(1, -77)], 'cannot serve: error -77'],
    ['ends the session', [session, reply(1, -112)], 'our session expired'],
    ['throttles', [session, reply(1, -127)], 'cannot serve: THROTTLEDOP'],
    ['sends nothing', [], 'no session within 300 ms'],
    ['gives a session and then nothing', [session], 'it hangs or is cut off'],
    [
      'sends children that are none',
      [session, reply(1, 0), reply(2, 0), reply(3, 0, Buffer.alloc(6, 127))],
      'a list of 2139062143 in 2 bytes',
    ],
  ])('%s: the watch ends with a loss that says so', async (_, bytes, text) => {
    const error = await failureOn((socket) => {
      // One answer to each request.
      let at = 0;
      socket.on('data', () => void socket.write(bytes[at++] ?? Buffer.alloc(0)));
    });
    expect(error).toBeInstanceOf(RegistryUnreachable);
    expect(error.message).toContain(text);
    expect(error.message).toMatch(/registry "main" at 127\.0\.0\.1:\d+/);
  });

  it('is a loss, whatever its bytes are', async () => {
    await fc.assert(
      fc.asyncProperty(fc.boolean(), fc.uint8Array({ maxLength: 200 }), async (greets, bytes) => {
        const garbage = greets ? Buffer.concat([session, bytes]) : Buffer.from(bytes);
        const error = await failureOn((socket) => socket.end(garbage));
        expect(error).toBeInstanceOf(RegistryUnreachable);
      }),
      { numRuns: 60 },
    );
  });
});
