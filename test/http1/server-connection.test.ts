import { describe, expect, it } from 'vitest';
import { ManualClock } from '../../src/core/clock.ts';
import { TimingWheel } from '../../src/core/wheel.ts';
import type { Refusal } from '../../src/http1/refusal.ts';
import type { RequestHead } from '../../src/http1/request-head.ts';
import {
  type RequestHandler,
  ServerConnection,
  type ServerConnectionOptions,
} from '../../src/http1/server-connection.ts';
import { MemoryTransport } from './memory-transport.ts';
import { fieldsOf, latin1, LIMITS } from './server-view.ts';
import { readChunked } from './strict-reader.ts';

const GET = 'GET /a HTTP/1.1\r\nHost: a\r\n\r\n';
const POST = 'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n';

/** Takes down what a connection tells, and answers only when the test does. */
class Handler implements RequestHandler {
  told: string[] = [];
  body = '';
  fields: [string, string][] = [];
  onRequest(head: RequestHead, buffer: Buffer): void {
    this.fields = fieldsOf(head, buffer);
    this.told.push(`request ${buffer.toString('latin1', head.methodEnd + 1, head.targetEnd)}`);
  }
  onRequestBody(buffer: Buffer, start: number, end: number): void {
    this.body += buffer.toString('latin1', start, end);
  }
  onRequestEnd(): void {
    this.told.push('end');
  }
  onRefused(refusal: Refusal | undefined, answered: boolean): void {
    this.told.push(`refused ${refusal?.reason ?? 'too-slow'} ${answered}`);
  }
  onClientGone(code: string | undefined): void {
    this.told.push(`gone ${code}`);
  }
  onClientStalled(): void {
    this.told.push('stalled');
  }
  onClientDrain(): void {
    this.told.push('drain');
  }
  onClientTunnelBytes(buffer: Buffer, start: number, end: number): void {
    this.told.push(`tunnel ${buffer.toString('latin1', start, end)}`);
  }
  onClientTunnelEnd(): void {
    this.told.push('tunnel end');
  }
  onConnectionClosed(): void {
    this.told.push('closed');
  }
}

class World {
  readonly clock = new ManualClock();
  readonly handler = new Handler();
  readonly connection: ServerConnection;
  readonly transport: MemoryTransport;

  constructor(options: Partial<ServerConnectionOptions> = {}) {
    // The wheel takes a deadline of 0 for none.
    this.clock.advance(1);
    this.connection = new ServerConnection(
      {
        clock: this.clock,
        wheel: new TimingWheel({ clock: this.clock, tickMs: 10, slots: 1024 }),
        limits: LIMITS,
        requestHeadMs: 10_000,
        keepAliveMs: 65_000,
        bodyIdleMs: 60_000,
        bodyMinBytesPerSecond: 240,
        bodyGraceMs: 10_000,
        ...options,
      },
      this.handler,
    );
    this.transport = new MemoryTransport(this.connection);
    this.connection.attach(this.transport);
  }

  send(text: string): void {
    this.transport.arrive(latin1(text));
  }

  finish(keepAlive = true): void {
    this.connection.finish(keepAlive, this.clock.now());
    this.transport.pump();
  }

  /** What was told since the last time. */
  news(): string[] {
    return this.handler.told.splice(0);
  }

  /** Milliseconds until the connection says something or closes. */
  waitFor(limitMs: number): number {
    const beganMs = this.clock.now();
    const before = this.handler.told.length;
    while (
      this.handler.told.length === before &&
      !this.transport.ended &&
      !this.transport.destroyed &&
      this.clock.now() - beganMs < limitMs
    )
      this.clock.advance(10);
    return this.clock.now() - beganMs;
  }
}

describe('requests on one connection', () => {
  it('come one at a time, in order, whatever was sent ahead', () => {
    const world = new World();
    world.send(GET + GET.replace('/a', '/b') + GET.replace('/a', '/c'));
    expect(world.news()).toEqual(['request /a', 'end']);
    world.finish();
    expect(world.news()).toEqual(['request /b', 'end']);
    world.send(GET.replace('/a', '/d'));
    world.finish();
    expect(world.news()).toEqual(['request /c', 'end']);
    world.finish();
    expect(world.news()).toEqual(['request /d', 'end']);
    world.finish();
    expect(world.connection.idle).toBe(true);
  });

  it('wait until the answer before them has left', () => {
    const world = new World();
    world.send(GET + GET);
    world.transport.pends = () => true;
    world.transport.write(latin1('answer'), 0, 6);
    world.finish();
    world.send(GET);
    expect(world.news()).toEqual(['request /a', 'end']);
    world.transport.drain();
    expect(world.news()).toEqual(['request /a', 'end']);
  });

  it('that are sent ahead are held up to a bound, and all served', () => {
    const world = new World();
    world.send(GET);
    const ahead = GET.repeat(20_000);
    world.send(ahead);
    expect(world.transport.waiting).toBe(true);
    let served = 0;
    for (; world.news().includes('end'); served++) world.finish();
    expect(served).toBe(20_001);
    expect(world.transport.waiting).toBe(false);
  });

  it('keep every byte of a chunked body that was sent ahead, extensions and all', () => {
    const world = new World();
    world.send(GET);
    const data = 'd'.repeat(60_000);
    const chunk = `${data.length.toString(16)};x=y\r\n${data}\r\n`;
    world.send(`POST /b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n${chunk.repeat(4)}0\r\n\r\n${GET}`);
    world.finish();
    expect(world.news()).toEqual(['request /a', 'end', 'request /b', 'end']);
    expect(readChunked(world.handler.body, 0)).toMatchObject({ content: data.repeat(4), complete: true });
    world.finish();
    expect(world.news()).toEqual(['request /a', 'end']);
  });

  it('end with the one that is refused', () => {
    const world = new World();
    world.send(`${GET}GET / HTTP/3.0\r\n\r\n${GET}`);
    world.finish();
    expect(world.news()).toEqual(['request /a', 'end', 'refused bad-version false']);
    world.finish(false);
    world.send(GET);
    expect(world.news()).toEqual([]);
    expect(world.transport.ended).toBe(true);
  });
});

describe('an answer before the end of the request', () => {
  it('ends the connection, and what still comes of the body is dropped', () => {
    const world = new World();
    world.send(`${POST}12345`);
    world.finish(true);
    expect(world.transport.ended).toBe(true);
    world.send('67890');
    world.send(GET);
    expect(world.news()).toEqual(['request /', 'end'].slice(0, 1));
    expect(world.handler.body).toBe('12345');
  });

  it('is not followed by a flood: beyond 256 KiB the connection is closed', () => {
    const world = new World();
    world.send(`${POST}1`);
    world.finish(true);
    world.transport.arrive(Buffer.alloc(262_144));
    expect(world.transport.destroyed).toBe(false);
    world.transport.arrive(Buffer.alloc(2));
    expect(world.transport.destroyed).toBe(true);
  });
});

describe('closing', () => {
  it('is done in one where the client said that this was its last request', () => {
    const world = new World();
    world.send('GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n');
    world.transport.write(latin1('answer'), 0, 6);
    world.finish(false);
    expect([world.transport.destroyed, world.transport.wasReset, world.transport.sent]).toEqual([
      true,
      false,
      'answer',
    ]);
  });

  it('is not done in one where the client has sent more all the same', () => {
    const world = new World();
    world.send(`GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n${GET}`);
    world.finish(false);
    expect([world.transport.ended, world.transport.destroyed]).toEqual([true, false]);
  });

  it('leaves the client two seconds to close as well', () => {
    const world = new World();
    world.send(GET);
    world.finish(false);
    expect([world.transport.ended, world.transport.destroyed]).toEqual([true, false]);
    world.clock.advance(1900);
    expect(world.transport.destroyed).toBe(false);
    world.clock.advance(200);
    expect(world.transport.destroyed).toBe(true);
  });

  it('waits for an answer that is still leaving, for as long as the client takes some of it', () => {
    const world = new World();
    world.send(GET);
    world.transport.pends = () => true;
    world.transport.write(latin1('a long answer'), 0, 13);
    world.finish(false);
    world.clock.advance(50_000);
    expect(world.transport.destroyed).toBe(false);
    world.transport.drain();
    world.clock.advance(1900);
    expect(world.transport.destroyed).toBe(false);
    world.clock.advance(200);
    expect(world.transport.destroyed).toBe(true);
    expect(world.transport.sent).toBe('a long answer');
  });

  it('does not wait for ever for a client that takes nothing', () => {
    const world = new World();
    world.send(GET);
    world.transport.pends = () => true;
    world.transport.write(latin1('a long answer'), 0, 13);
    world.finish(false);
    world.clock.advance(61_000);
    expect(world.transport.destroyed).toBe(true);
  });

  it('is over at once when the client closes too', async () => {
    const world = new World();
    world.send(GET);
    world.finish(false);
    world.transport.arriveEnd();
    expect(world.transport.destroyed).toBe(true);
    await Promise.resolve();
    expect(world.news()).toEqual(['request /a', 'end', 'closed']);
  });

  it('by abort is a reset', () => {
    const world = new World();
    world.send(GET);
    world.connection.abort();
    expect([world.transport.wasReset, world.transport.destroyed]).toEqual([true, true]);
  });
});

describe('draining', () => {
  it('closes an idle connection at once, and another after its answer', () => {
    const idle = new World();
    idle.connection.drain();
    expect(idle.transport.ended).toBe(true);
    const busy = new World();
    busy.send(GET + GET);
    busy.connection.drain();
    expect(busy.transport.ended).toBe(false);
    busy.finish();
    expect(busy.transport.ended).toBe(true);
    expect(busy.news()).toEqual(['request /a', 'end']);
  });

  it('waits for an answer that is still leaving', () => {
    const world = new World();
    world.send(GET);
    world.transport.pends = () => true;
    world.transport.write(latin1('x'), 0, 1);
    world.finish();
    world.connection.drain();
    expect(world.transport.ended).toBe(false);
    world.transport.drain();
    expect(world.transport.ended).toBe(true);
  });
});

describe('a client that goes away', () => {
  it.each([
    ['by FIN while its answer is awaited', GET, 'fin', ['request /a', 'end', 'gone undefined', 'closed']],
    ['by FIN in its body', `${POST}123`, 'fin', ['request /', 'gone undefined', 'closed']],
    ['by RST while its answer is awaited', GET, 'rst', ['request /a', 'end', 'gone ECONNRESET', 'closed']],
    ['by RST in its body', `${POST}123`, 'rst', ['request /', 'gone ECONNRESET', 'closed']],
    ['by FIN in its head', 'GET / HT', 'fin', ['closed']],
    ['by RST in its head', 'GET / HT', 'rst', ['closed']],
    ['by FIN before anything', '', 'fin', ['closed']],
  ])('%s', async (_, bytes, how, told) => {
    const world = new World();
    if (bytes !== '') world.send(bytes);
    if (how === 'fin') world.transport.arriveEnd();
    else world.transport.breakOff();
    await Promise.resolve();
    expect(world.news()).toEqual(told);
    expect([world.transport.destroyed, world.connection.closed]).toEqual([true, true]);
    world.finish();
    expect(world.connection.closed).toBe(true);
  });
});

describe('time', () => {
  it('for the first request is that of keep-alive', () => {
    expect(new World().waitFor(100_000)).toBeCloseTo(65_000, -2);
  });

  it('for a head begins with its first byte, and does not begin anew', () => {
    const world = new World();
    for (let i = 0; i < 9; i++) {
      world.send('GET / HTTP/1.1\r\nA: b\r\n'.charAt(i));
      world.clock.advance(1000);
    }
    expect(world.news()).toEqual([]);
    expect(world.waitFor(5000)).toBeCloseTo(1000, -2);
    expect(world.news()).toEqual(['refused too-slow false']);
  });

  it('for a head of which a line comes now and then is the same', () => {
    const world = new World();
    world.send('GET / HTTP/1.1\r\nHost: a\r\n');
    for (let i = 0; i < 21; i++) {
      world.clock.advance(500);
      world.send(`X-${i}: ${'a'.repeat(200)}\r\n`);
    }
    expect(world.news()).toEqual(['refused too-slow false']);
  });

  it('for a body is up when it comes below the least rate after the grace', () => {
    const world = new World();
    world.send('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n');
    for (let i = 0; i < 100 && world.handler.told.length < 2; i++) {
      world.clock.advance(1000);
      world.send('x'.repeat(200));
    }
    expect(world.news()).toEqual(['request /', 'refused too-slow true']);
    expect(world.clock.now()).toBeLessThan(11_100);
  });

  it('for a body is not up while it comes as fast as asked', () => {
    const world = new World();
    world.send('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n');
    for (let i = 0; i < 390; i++) {
      world.clock.advance(1000);
      world.send('x'.repeat(256));
    }
    expect(world.news()).toEqual(['request /']);
  });

  it('for a body that has come fast allows a rest, but not for ever', () => {
    const world = new World();
    world.send('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n');
    world.send('x'.repeat(50_000));
    world.clock.advance(50_000);
    expect(world.news()).toEqual(['request /']);
    world.send('x');
    expect(world.waitFor(100_000)).toBeGreaterThan(59_000);
    expect(world.clock.now()).toBeLessThan(125_000);
    expect(world.news()).toEqual(['refused too-slow true']);
  });

  it('for a body does not run while it is we who hold it back', () => {
    const world = new World();
    world.send(`${POST}12345`);
    world.connection.pauseBody();
    world.clock.advance(600_000);
    expect(world.news()).toEqual(['request /']);
    world.connection.resumeBody();
    world.transport.pump();
    expect(world.waitFor(20_000)).toBeCloseTo(10_000, -2);
    expect(world.news()).toEqual(['refused too-slow true']);
  });

  it('for a body that may drip is that of its rests', () => {
    const world = new World({ bodyMinBytesPerSecond: 0 });
    world.send('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n');
    for (let i = 0; i < 20; i++) {
      world.send('x');
      world.clock.advance(50_000);
    }
    expect(world.news()).toEqual(['request /']);
    expect(world.waitFor(100_000)).toBeLessThan(70_000);
    expect(world.news()).toEqual(['refused too-slow true']);
  });

  it('for an answer to be taken is up once, and is not counted after a drain', () => {
    const world = new World();
    world.send(GET);
    world.connection.expectDrainWithin(5000);
    world.clock.advance(4000);
    world.connection.onDrain();
    world.clock.advance(100_000);
    expect(world.news()).toEqual(['request /a', 'end', 'drain']);
    world.connection.expectDrainWithin(5000);
    world.clock.advance(6000);
    expect(world.news()).toEqual(['stalled']);
  });

  it('between requests is that of keep-alive, and ends in FIN', () => {
    const world = new World();
    world.send(GET);
    world.finish();
    expect(world.waitFor(100_000)).toBeCloseTo(65_000, -2);
    expect(world.transport.ended).toBe(true);
  });

  it('leaves no timer behind', async () => {
    const world = new World();
    world.send(GET);
    world.transport.destroy();
    await Promise.resolve();
    world.clock.advance(100_000);
    expect(world.clock.pending).toBe(0);
    expect(world.news()).toEqual(['request /a', 'end', 'gone undefined', 'closed']);
  });
});

describe('holding a body back', () => {
  it('stops reading until it is resumed', () => {
    const world = new World();
    world.send(`${POST}123`);
    world.connection.pauseBody();
    world.send('45');
    expect(world.handler.body).toBe('123');
    world.connection.resumeBody();
    world.transport.pump();
    expect(world.handler.body).toBe('12345');
  });
});

describe('a tunnel', () => {
  it('begins with what was sent ahead, and hears of FIN', () => {
    const world = new World();
    world.send(`${GET}early`);
    world.connection.tunnel();
    world.send('late');
    world.transport.arriveEnd();
    expect(world.news()).toEqual(['request /a', 'end', 'tunnel early', 'tunnel late', 'tunnel end']);
    expect(world.transport.destroyed).toBe(false);
    world.finish(false);
    expect(world.transport.ended).toBe(true);
  });
});
