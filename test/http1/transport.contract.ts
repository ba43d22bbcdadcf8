import net from 'node:net';
import { afterEach, expect, it } from 'vitest';
import { READ_BUFFER_BYTES, type Transport, type TransportSink } from '../../src/http1/transport.ts';

/** Takes down what a transport tells, and copies what it hands over. */
export class RecordingSink implements TransportSink {
  readonly chunks: Buffer[] = [];
  readonly buffers: Buffer[] = [];
  ends = 0;
  drains = 0;
  readonly closes: (string | undefined)[] = [];
  onRead: ((buffer: Buffer, start: number, end: number) => void) | undefined;

  get bytes(): Buffer {
    return Buffer.concat(this.chunks);
  }
  get text(): string {
    return this.bytes.toString('latin1');
  }

  onBytes(buffer: Buffer, start: number, end: number): void {
    if (this.closes.length > 0) throw new Error('bytes after onClose');
    this.buffers.push(buffer);
    this.chunks.push(Buffer.from(buffer.subarray(start, end)));
    this.onRead?.(buffer, start, end);
  }
  onEnd(): void {
    this.ends++;
  }
  onDrain(): void {
    if (this.closes.length > 0) throw new Error('onDrain after onClose');
    this.drains++;
  }
  onClose(code: string | undefined): void {
    this.closes.push(code);
  }
}

export interface Layer {
  /** Accepts one connection; the transport does not read yet. */
  accept(): Promise<{ transport: Transport; sink: RecordingSink; peer: net.Socket }>;
  connect(
    port: number,
    sink: TransportSink,
    done: (transport: Transport | undefined, code: string | undefined) => void,
    address?: string,
  ): () => void;
  /** `readInto` is heeded. */
  readonly ownMemory: boolean;
}

const until = (check: () => unknown): Promise<unknown> =>
  expect.poll(check, { timeout: 10_000, interval: 5 }).toBeTruthy();
const beat = (ms = 30): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** What every Transport owes, on real connections. */
export function transportContract(layer: Layer): void {
  const stops: (() => void)[] = [];
  afterEach(() => {
    for (const stop of stops.splice(0)) stop();
  });

  async function pair(): Promise<{ transport: Transport; sink: RecordingSink; peer: net.Socket; got: Buffer[] }> {
    const made = await layer.accept();
    const got: Buffer[] = [];
    made.peer.on('error', () => undefined);
    made.peer.on('data', (bytes: Buffer) => got.push(bytes));
    stops.push(() => {
      made.transport.destroy();
      made.peer.destroy();
    });
    return { ...made, got };
  }

  const write = (transport: Transport, text: string): boolean => {
    const bytes = Buffer.from(text, 'latin1');
    return transport.write(bytes, 0, bytes.length);
  };

  /** Writes pieces, each from memory of its own, until one stays pending; returns all that was written. */
  async function clog(transport: Transport, peer: net.Socket): Promise<Buffer[]> {
    peer.pause();
    const pieces: Buffer[] = [];
    for (let i = 0; i < 400; i++) {
      const piece = Buffer.alloc(65_536, i);
      pieces.push(piece);
      transport.write(piece, 0, piece.length);
      await beat(1);
      if (transport.writing) await beat(20);
      if (transport.writing) return pieces;
    }
    throw new Error('the kernel takes everything');
  }

  it('says who is connected', async () => {
    const { transport, peer } = await pair();
    expect([transport.remoteAddress.replace('::ffff:', ''), transport.remotePort]).toEqual([
      '127.0.0.1',
      peer.localPort,
    ]);
    expect([transport.localPort, transport.encrypted, transport.destroyed]).toEqual([peer.remotePort, false, false]);
  });

  it('reads only after resume, and not while paused', async () => {
    const { transport, sink, peer } = await pair();
    peer.write('one');
    await beat();
    expect(sink.text).toBe('');
    transport.resume();
    await until(() => sink.text === 'one');
    transport.pause();
    peer.write('two');
    await beat();
    expect(sink.text).toBe('one');
    transport.resume();
    transport.resume();
    await until(() => sink.text === 'onetwo');
  });

  it('can be paused from within onBytes, and holds the peer back', async () => {
    const { transport, sink, peer } = await pair();
    sink.onRead = () => {
      transport.pause();
    };
    transport.resume();
    const sent = Buffer.alloc(1_000_000, 'x');
    peer.write(sent);
    await until(() => sink.chunks.length === 1);
    await beat();
    expect(sink.chunks).toHaveLength(1);
    sink.onRead = undefined;
    transport.resume();
    await until(() => sink.bytes.length === sent.length);
  });

  it('hands bytes over in order, whatever the sizes', async () => {
    const { transport, sink, peer } = await pair();
    transport.resume();
    const sent = Buffer.from(Array.from({ length: 300_000 }, (_, i) => (i * 7 + (i >> 8)) & 255));
    for (let at = 0, size = 1; at < sent.length; at += size, size = (size * 5) % 9973)
      peer.write(sent.subarray(at, at + size));
    await until(() => sink.bytes.length >= sent.length);
    expect(sink.bytes.equals(sent)).toBe(true);
  });

  it('writes what it is given, and says when the memory is free again', async () => {
    const { transport, sink, peer, got } = await pair();
    for (let i = 0; i < 100; i++) {
      const bytes = Buffer.from(`--${i}--`);
      if (transport.write(bytes, 2, bytes.length - 2)) bytes.fill(0);
      else expect(transport.writing).toBe(true);
    }
    await until(() => !transport.writing);
    await until(() => Buffer.concat(got).toString().endsWith('99'));
    expect(Buffer.concat(got).toString()).toBe(Array.from({ length: 100 }, (_, i) => i).join(''));
    expect(peer.destroyed).toBe(false);
    expect(sink.drains).toBeLessThanOrEqual(100);
  });

  it('keeps a write pending that the peer does not take, drains once, and loses nothing', async () => {
    const { transport, sink, peer, got } = await pair();
    const pieces = await clog(transport, peer);
    const more = Buffer.alloc(10_000, 77);
    expect(transport.write(more, 0, more.length)).toBe(false);
    const drains = sink.drains;
    peer.resume();
    await until(() => !transport.writing);
    expect(sink.drains).toBe(drains + 1);
    const expected = Buffer.concat([...pieces, more]);
    await until(() => got.reduce((sum, { length }) => sum + length, 0) === expected.length);
    expect(Buffer.concat(got).equals(expected)).toBe(true);
  });

  it('ends by FIN after what is pending, and goes on reading', async () => {
    const { transport, sink, peer, got } = await pair();
    transport.resume();
    const pieces = await clog(transport, peer);
    transport.end();
    transport.end();
    expect(write(transport, 'after the end')).toBe(true);
    let ended = false;
    peer.on('end', () => (ended = true));
    peer.resume();
    await until(() => ended);
    expect(Buffer.concat(got).equals(Buffer.concat(pieces))).toBe(true);
    peer.write('still heard');
    await until(() => sink.text === 'still heard');
    peer.end();
    await until(() => sink.ends === 1);
  });

  it('tells of FIN once, and still writes', async () => {
    const { transport, sink, peer, got } = await pair();
    transport.resume();
    peer.end('last words');
    await until(() => sink.ends === 1);
    expect(sink.text).toBe('last words');
    write(transport, 'an answer all the same');
    await until(() => Buffer.concat(got).toString() === 'an answer all the same');
    expect(sink.closes).toEqual([]);
    transport.destroy();
    await until(() => sink.closes.length === 1);
    expect([sink.ends, sink.closes]).toEqual([1, [undefined]]);
  });

  it('closes once by destroy, from wherever it is called, and never calls back before it returns', async () => {
    const { transport, sink, peer } = await pair();
    sink.onRead = () => {
      transport.destroy();
      transport.destroy();
      transport.reset();
      expect(sink.closes).toEqual([]);
    };
    transport.resume();
    peer.write('x');
    await until(() => sink.closes.length > 0);
    await beat();
    expect([sink.closes, transport.destroyed, write(transport, 'x')]).toEqual([[undefined], true, true]);
    transport.resume();
    transport.pause();
    transport.end();
    await until(() => peer.destroyed || peer.readableEnded);
  });

  it('loses what is pending by destroy', async () => {
    const { transport, sink, peer, got } = await pair();
    const pieces = await clog(transport, peer);
    transport.destroy();
    await until(() => sink.closes.length === 1);
    let over = false;
    peer.on('end', () => (over = true));
    peer.on('close', () => (over = true));
    peer.resume();
    await until(() => over);
    expect(Buffer.concat(got).length).toBeLessThan(Buffer.concat(pieces).length);
  });

  it('resets, so that the peer sees an error and no end', async () => {
    const { transport, sink, peer } = await pair();
    let code: string | undefined;
    let ended = false;
    peer.on('error', (error: NodeJS.ErrnoException) => (code = error.code));
    peer.on('end', () => (ended = true));
    write(transport, 'half');
    await until(() => !transport.writing);
    transport.reset();
    await until(() => code !== undefined);
    expect([code, ended]).toEqual(['ECONNRESET', false]);
    await until(() => sink.closes.length === 1);
    expect(sink.closes).toEqual([undefined]);
  });

  it('tells of the peer’s reset with its code', async () => {
    const { transport, sink, peer } = await pair();
    transport.resume();
    peer.resetAndDestroy();
    await until(() => sink.closes.length === 1);
    expect([sink.closes, transport.destroyed]).toEqual([['ECONNRESET'], true]);
  });

  it('tells of the peer’s reset while a write is pending, once', async () => {
    const { transport, sink, peer } = await pair();
    await clog(transport, peer);
    peer.resetAndDestroy();
    await until(() => sink.closes.length > 0);
    await beat();
    expect(sink.closes).toHaveLength(1);
    expect(['ECONNRESET', 'EPIPE', 'ECANCELED']).toContain(sink.closes[0]);
  });

  it('may change hands', async () => {
    const { transport, sink, peer } = await pair();
    const next = new RecordingSink();
    sink.onRead = () => {
      transport.sink = next;
    };
    transport.resume();
    peer.write('one');
    await until(() => sink.text === 'one');
    peer.end('two');
    await until(() => next.ends === 1);
    expect(next.text).toBe('two');
    transport.destroy();
    await until(() => next.closes.length === 1);
    expect(sink.closes).toEqual([]);
  });

  if (layer.ownMemory) {
    it('reads into memory of its own from the next read on, and back', async () => {
      const { transport, sink, peer } = await pair();
      const own = Buffer.alloc(READ_BUFFER_BYTES);
      sink.onRead = () => {
        sink.onRead = () => {
          transport.readInto(undefined);
          sink.onRead = undefined;
        };
        transport.readInto(own);
      };
      transport.resume();
      for (const [at, text] of ['shared', 'own', 'shared again'].entries()) {
        peer.write(text);
        await until(() => sink.chunks.length === at + 1);
      }
      expect(sink.buffers.map((buffer) => buffer === own)).toEqual([false, true, false]);
      expect(own.toString('latin1', 0, 3)).toBe('own');
      expect(sink.text).toBe('sharedownshared again');
    });

    it('keeps the bytes of one connection apart from those of another', async () => {
      const pairs = await Promise.all(Array.from({ length: 20 }, () => pair()));
      for (const [i, { transport, peer }] of pairs.entries()) {
        if (i % 2 === 0) transport.readInto(Buffer.alloc(READ_BUFFER_BYTES));
        transport.resume();
        peer.write(String(i).repeat(50_000));
      }
      await until(() => pairs.every(({ sink }, i) => sink.bytes.length === String(i).length * 50_000));
      for (const [i, { sink }] of pairs.entries()) expect(sink.text === String(i).repeat(50_000)).toBe(true);
    });
  }

  async function listening(): Promise<{ port: number; sockets: net.Socket[] }> {
    const sockets: net.Socket[] = [];
    const server = net.createServer((socket) => {
      socket.on('error', () => undefined);
      socket.resume();
      sockets.push(socket);
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    stops.push(() => {
      server.close();
      for (const socket of sockets) socket.destroy();
    });
    return { port: (server.address() as net.AddressInfo).port, sockets };
  }

  async function closedPort(): Promise<number> {
    const server = net.createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as net.AddressInfo;
    await new Promise((resolve) => server.close(resolve));
    return port;
  }

  it('connects, and calls done once, later', async () => {
    const { port, sockets } = await listening();
    const sink = new RecordingSink();
    const results: [Transport | undefined, string | undefined][] = [];
    layer.connect(port, sink, (...result) => results.push(result));
    expect(results).toEqual([]);
    await until(() => results.length === 1);
    const transport = results[0]![0]!;
    stops.push(() => transport.destroy());
    expect(results[0]![1]).toBeUndefined();
    transport.resume();
    write(transport, 'ping');
    await until(() => sockets.length === 1);
    sockets[0]!.write('pong');
    await until(() => sink.text === 'pong');
    expect([transport.remotePort, transport.localPort]).toEqual([port, sockets[0]!.remotePort]);
  });

  it('says why it could not connect, later', async () => {
    const port = await closedPort();
    const results: [Transport | undefined, string | undefined][] = [];
    layer.connect(port, new RecordingSink(), (...result) => results.push(result));
    expect(results).toEqual([]);
    await until(() => results.length === 1);
    await beat();
    expect(results).toEqual([[undefined, 'ECONNREFUSED']]);
  });

  it('gives up connecting, and says nothing any more', async () => {
    const { port, sockets } = await listening();
    const results: unknown[] = [];
    const giveUp = [port, await closedPort()].map((each) =>
      layer.connect(each, new RecordingSink(), () => results.push(0)),
    );
    for (const each of giveUp) {
      each();
      each();
    }
    await beat(100);
    expect(results).toEqual([]);
    await until(() => sockets.every(({ destroyed }) => destroyed));
  });

  it('does nothing by giving up once connected', async () => {
    const { port } = await listening();
    const sink = new RecordingSink();
    let transport: Transport | undefined;
    const giveUp = layer.connect(port, sink, (made) => (transport = made));
    await until(() => transport);
    giveUp();
    expect(transport!.destroyed).toBe(false);
    transport!.destroy();
    await until(() => sink.closes.length === 1);
  });

  it('leaves nothing open behind', async () => {
    const count = (): number => process.getActiveResourcesInfo().filter((name) => /TCP/.test(name)).length;
    await beat();
    const before = count();
    const port = await closedPort();
    await Promise.all(
      Array.from(
        { length: 20 },
        () => new Promise<void>((resolve) => layer.connect(port, new RecordingSink(), () => resolve())),
      ),
    );
    for (let i = 0; i < 10; i++) {
      const { transport, peer } = await layer.accept();
      peer.on('error', () => undefined);
      if (i % 3 === 0) transport.reset();
      else if (i % 3 === 1) transport.destroy();
      else {
        transport.resume();
        peer.resetAndDestroy();
      }
      peer.destroy();
    }
    await expect.poll(count, { timeout: 10_000 }).toBeLessThanOrEqual(before + 1);
  });
}
