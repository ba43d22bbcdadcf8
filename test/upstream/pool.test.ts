import { describe, expect, it } from 'vitest';
import { ManualClock } from '../../src/core/clock.ts';
import { instance } from '../../src/core/instance.ts';
import { TimingWheel } from '../../src/core/wheel.ts';
import type { ResponseHandler } from '../../src/http1/client-connection.ts';
import type { Transport, TransportSink } from '../../src/http1/transport.ts';
import { Pool, type PooledConnection } from '../../src/upstream/pool.ts';

const HERE = instance({ id: 'a', service: 'web', host: '127.0.0.1', port: 80 });
const SLOT = 3;

interface Opening {
  readonly sink: TransportSink;
  readonly done: (transport: Transport | undefined, code: string | undefined) => void;
  cancelled: boolean;
}

function transport(): Transport {
  return {
    sink: undefined as unknown as TransportSink,
    batch: undefined,
    remoteAddress: '127.0.0.1',
    remotePort: 80,
    localPort: 1,
    encrypted: false,
    destroyed: false,
    writing: false,
    write: () => true,
    resume: () => undefined,
    pause: () => undefined,
    readInto: () => undefined,
    end: () => undefined,
    destroy: () => undefined,
    reset: () => undefined,
  };
}

class Scene {
  readonly clock = new ManualClock();
  readonly openings: Opening[] = [];
  readonly refused: number[] = [];
  wanted = true;
  readonly pool: Pool;
  readonly #wheel: TimingWheel;

  constructor() {
    this.#wheel = new TimingWheel({ clock: this.clock, tickMs: 10, slots: 1024 });
    this.pool = new Pool({
      clock: this.clock,
      wheel: this.#wheel,
      connect: (_, sink, done) => {
        const opening: Opening = { sink, done, cancelled: false };
        this.openings.push(opening);
        return () => (opening.cancelled = true);
      },
      limits: { headBytes: 32_768, headFields: 100, targetBytes: 8192 },
      idleMs: 4000,
    });
    this.pool.knocks = { wanted: () => this.wanted, refused: (slot) => this.refused.push(slot) };
    this.clock.advance(10_000);
  }

  /** Connections that have served a request each, at the same time. */
  serve(count: number): PooledConnection[] {
    const served = Array.from({ length: count }, () => {
      let made: PooledConnection | undefined;
      this.pool.connect(SLOT, HERE, (connection) => (made = connection));
      this.openings.pop()?.done(transport(), undefined);
      return made!;
    });
    for (const connection of served) {
      connection.client.begin(ANSWERED, false);
      const answer = Buffer.from('HTTP/1.1 204 No Content\r\n\r\n');
      connection.client.onBytes(answer, 0, answer.length);
      this.pool.give(connection, 64, this.clock.now());
    }
    return served;
  }
}

const ANSWERED: ResponseHandler = {
  onInformational: () => undefined,
  onResponse: () => 0,
  onResponseBody: () => undefined,
  onResponsePause: () => undefined,
  onResponseEnd: () => true,
  onResponseFailed: () => undefined,
  onRequestDrain: () => undefined,
  onServerTunnelBytes: () => undefined,
  onServerTunnelEnd: () => undefined,
};

describe('a knock', () => {
  it('is made when the instance has closed the last of its idle connections, and tells that nobody listens', () => {
    const scene = new Scene();
    const [one, other] = scene.serve(2);
    one!.client.onEnd();
    expect(scene.openings).toHaveLength(0);
    other!.client.onClose('ECONNRESET');
    expect(scene.openings).toHaveLength(1);
    scene.openings[0]!.done(undefined, 'ECONNREFUSED');
    expect(scene.refused).toEqual([SLOT]);
    expect(scene.pool.idleCount).toBe(0);
    expect(scene.clock.pending).toBeLessThanOrEqual(1);
  });

  it('that is answered serves the next request, and is closed when nobody has used it, without another knock', () => {
    const scene = new Scene();
    scene.serve(1)[0]!.client.onEnd();
    scene.openings[0]!.done(transport(), undefined);
    expect(scene.pool.idleCount).toBe(1);
    const taken = scene.pool.take(SLOT, true);
    expect(taken).toBeDefined();
    scene.pool.give(taken!, 64, scene.clock.now());
    scene.clock.advance(4100);
    expect(scene.pool.idleCount).toBe(0);
    expect(scene.openings).toHaveLength(1);
    expect(scene.refused).toEqual([]);
  });

  it('is not followed by another where the instance closes what nobody has used', () => {
    const scene = new Scene();
    scene.serve(1)[0]!.client.onEnd();
    scene.openings[0]!.done(transport(), undefined);
    scene.clock.advance(1500);
    scene.pool.take(SLOT, false)!.client.onEnd();
    expect(scene.openings).toHaveLength(1);
  });

  it('is made once at a time, and once a second', () => {
    const scene = new Scene();
    scene.pool.knock(SLOT, HERE);
    scene.pool.knock(SLOT, HERE);
    expect(scene.openings).toHaveLength(1);
    scene.openings[0]!.done(undefined, 'ECONNREFUSED');
    scene.clock.advance(500);
    scene.pool.knock(SLOT, HERE);
    expect(scene.openings).toHaveLength(1);
    scene.clock.advance(600);
    scene.pool.knock(SLOT, HERE);
    expect(scene.openings).toHaveLength(2);
  });

  it('is given up after a second, and says nothing then', () => {
    const scene = new Scene();
    scene.serve(1)[0]!.client.onEnd();
    scene.clock.advance(1100);
    expect(scene.openings[0]!.cancelled).toBe(true);
    expect(scene.refused).toEqual([]);
  });

  it('says nothing of an instance by any other failure than a refusal', () => {
    const scene = new Scene();
    scene.serve(1)[0]!.client.onEnd();
    scene.openings[0]!.done(undefined, 'EMFILE');
    expect(scene.refused).toEqual([]);
  });

  it('is not made where nobody wants to know, nor long after the last request', () => {
    const scene = new Scene();
    scene.wanted = false;
    scene.serve(1)[0]!.client.onEnd();
    expect(scene.openings).toHaveLength(0);
    scene.wanted = true;
    const [late] = scene.serve(1);
    late!.client.serverKeepAliveMs = 60_000;
    scene.pool.give(scene.pool.take(SLOT, false)!, 64, scene.clock.now());
    scene.clock.advance(6000);
    expect(scene.pool.idleCount).toBe(1);
    late!.client.onEnd();
    expect(scene.openings).toHaveLength(0);
  });

  it('is given up with the instance, and with the pool', () => {
    const scene = new Scene();
    scene.pool.knock(SLOT, HERE);
    scene.pool.drop(SLOT);
    expect(scene.openings[0]!.cancelled).toBe(true);
    scene.pool.knock(SLOT, HERE);
    scene.pool.close();
    expect(scene.openings[1]!.cancelled).toBe(true);
    scene.clock.advance(2000);
    expect(scene.clock.pending).toBe(0);
  });
});

describe('a connection whose answer has just ended', () => {
  it('is not taken while it hands out bytes: what was read with them is no answer to the next request', () => {
    const scene = new Scene();
    const [under, ended] = scene.serve(2);
    ended!.client.midRead = true;
    expect(scene.pool.take(SLOT, false)).toBe(under);
    expect(scene.pool.take(SLOT, false)).toBeUndefined();
    ended!.client.midRead = false;
    expect(scene.pool.take(SLOT, false)).toBe(ended);
  });

  it('dies of bytes that came along, before any request can take them for its answer', () => {
    const scene = new Scene();
    const [connection] = scene.serve(1);
    let takenMidway: PooledConnection | undefined;
    scene.pool.take(SLOT, false);
    const handler: ResponseHandler = {
      ...ANSWERED,
      onResponseEnd: () => {
        scene.pool.give(connection!, 64, scene.clock.now());
        takenMidway = scene.pool.take(SLOT, false);
        return true;
      },
    };
    connection!.client.begin(handler, false);
    for (const text of ['HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok', 'HTTP/1.1 408 Timeout\r\n\r\n']) {
      const bytes = Buffer.from(text);
      connection!.client.onBytes(bytes, 0, bytes.length);
    }
    expect([takenMidway, connection!.client.closed, scene.pool.idleCount]).toEqual([undefined, true, 0]);
  });
});
