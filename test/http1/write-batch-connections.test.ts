import net from 'node:net';
import { beforeEach, describe, expect, it } from 'vitest';
import { ClientConnection, type ResponseHandler } from '../../src/http1/client-connection.ts';
import { connectHandle, handlesAvailable } from '../../src/http1/handle-transport.ts';
import { connectSocket } from '../../src/http1/socket-transport.ts';
import { Stage } from '../../src/http1/stage.ts';
import type { Transport, TransportSink } from '../../src/http1/transport.ts';
import { WriteBatch } from '../../src/http1/write-batch.ts';
import { MemoryTransport } from './memory-transport.ts';
import { latin1, LIMITS } from './server-view.ts';

const OK = latin1('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** Notes what it is told. */
class Listener implements ResponseHandler {
  readonly told: string[] = [];
  onInformational(): void {
    this.told.push('informational');
  }
  onResponse(): 0 {
    this.told.push('response');
    return 0;
  }
  onResponseBody(buffer: Buffer, start: number, end: number): void {
    this.told.push(buffer.toString('latin1', start, end));
  }
  onResponsePause(): void {
    this.told.push('pause');
  }
  onResponseEnd(): boolean {
    this.told.push('end');
    return true;
  }
  onResponseFailed(kind: string, reason: string): void {
    this.told.push(`${kind}: ${reason}`);
  }
  onRequestDrain(): void {
    this.told.push('drain');
  }
  onServerTunnelBytes(): void {
    this.told.push('tunnel');
  }
  onServerTunnelEnd(): void {
    this.told.push('tunnel end');
  }
}

let stage: Stage;
let batch: WriteBatch;
beforeEach(() => {
  stage = new Stage(4096);
  batch = new WriteBatch(stage);
});

/** Puts a request together in the stage and into the batch. */
function ask(transport: Transport, text: string): void {
  stage.reserve(text.length);
  batch.add(transport, stage.buffer, stage.start, stage.start + stage.buffer.write(text, stage.start, 'latin1'));
}

function asked(text: string): { client: ClientConnection; transport: MemoryTransport; told: string[] } {
  const client = new ClientConnection({ limits: LIMITS, onIdleClosed: () => undefined });
  const transport = new MemoryTransport(client);
  client.transport = transport;
  const listener = new Listener();
  client.begin(listener, false);
  ask(transport, text);
  return { client, transport, told: listener.told };
}

describe('a request that waits for the end of the turn', () => {
  it.each<[string, (transport: MemoryTransport) => void, string]>([
    ['is reset', (transport) => transport.breakOff('ECONNRESET'), 'reset: ECONNRESET'],
    ['is closed by the instance', (transport) => transport.arriveEnd(), 'reset: closed by the instance'],
    ['has an answer already', (transport) => transport.arrive(OK), 'reset: bytes before the request'],
    [
      'has half an answer already',
      (transport) => transport.arrive(OK.subarray(0, 9)),
      'reset: bytes before the request',
    ],
    ['talks nonsense', (transport) => transport.arrive(latin1('?')), 'reset: bytes before the request'],
  ])('never leaves on a connection that %s, and the others leave', async (_, happens, reason) => {
    const before = asked('GET /before');
    const here = asked('GET /here');
    const behind = asked('GET /behind');
    happens(here.transport);
    await Promise.resolve();
    expect(here.told).toEqual([reason]);
    expect([here.client.responseBegan, here.client.closed, here.transport.destroyed]).toEqual([false, true, true]);
    await turn();
    expect([before, here, behind].map(({ transport }) => transport.sent)).toEqual(['GET /before', '', 'GET /behind']);
    expect(stage.start).toBe(0);
    before.transport.arrive(OK);
    behind.transport.arrive(OK);
    expect([before.told, here.told, behind.told]).toEqual([
      ['response', 'ok', 'end'],
      [reason],
      ['response', 'ok', 'end'],
    ]);
  });

  it('never leaves on a connection that is given up, and nobody is told', async () => {
    const here = asked('GET /here');
    const behind = asked('GET /behind');
    here.client.abandon();
    await turn();
    expect([here.transport.sent, here.told, behind.transport.sent]).toEqual(['', [], 'GET /behind']);
  });

  it('leaves once on another connection when it is asked again in the same turn', async () => {
    const here = asked('GET /again');
    here.transport.breakOff();
    await Promise.resolve();
    const other = asked('GET /again');
    await turn();
    expect([here.transport.sent, other.transport.sent]).toEqual(['', 'GET /again']);
    other.transport.arrive(OK);
    expect(other.told).toEqual(['response', 'ok', 'end']);
  });

  it('may be answered from the moment at which it has left, however early that was', () => {
    const here = asked('GET /here');
    const other = asked('GET /other');
    // Something is said on the other one: the batch goes out before it.
    other.transport.write(latin1('!'), 0, 1);
    expect([here.transport.sent, other.transport.sent]).toEqual(['GET /here', 'GET /other!']);
    here.transport.arrive(OK);
    expect(here.told).toEqual(['response', 'ok', 'end']);
  });

  it('keeps its memory while it is pending, although its connection is gone from the batch', async () => {
    const slow = asked('GET /slow');
    slow.transport.pends = () => true;
    await turn();
    expect(slow.client.transport.writing).toBe(true);
    const gone = asked('GET /gone');
    gone.transport.destroy();
    asked('GET /over-it?');
    await turn();
    // Finds out memory that was written over.
    slow.transport.drain();
    expect([slow.transport.sent, slow.told]).toEqual(['GET /slow', ['drain']]);
  });
});

type Connect = (port: number, sink: TransportSink, done: (transport: Transport | undefined) => void) => void;
const overHandles: Connect = (port, sink, done) => connectHandle('127.0.0.1', port, sink, done);
const overSockets: Connect = (port, sink, done) => connectSocket({ address: '127.0.0.1', port }, sink, done);

interface Peer {
  readonly server: net.Server;
  readonly sockets: net.Socket[];
  readonly received: string[];
}

async function listening(): Promise<Peer> {
  const peer: Peer = { server: net.createServer(), sockets: [], received: [] };
  peer.server.on('connection', (socket) => {
    const at = peer.sockets.push(socket) - 1;
    peer.received[at] = '';
    socket.on('data', (bytes) => (peer.received[at] = `${peer.received[at] ?? ''}${bytes.toString('latin1')}`));
    socket.on('error', () => undefined);
  });
  await new Promise<void>((resolve) => peer.server.listen(0, '127.0.0.1', resolve));
  return peer;
}

describe.each([
  { layer: 'bare handles', connect: overHandles, skip: !handlesAvailable },
  { layer: 'net.Socket', connect: overSockets, skip: false },
])('on $layer', ({ connect, skip }) => {
  it.skipIf(skip).each(['destroyed', 'reset'] as const)(
    'nothing of a batch leaves on a connection that is %s before its end',
    async (how) => {
      const peer = await listening();
      const { port } = peer.server.address() as net.AddressInfo;
      const sink: TransportSink = {
        onBytes: () => undefined,
        onEnd: () => undefined,
        onDrain: () => undefined,
        onClose: () => undefined,
      };
      const open = (): Promise<Transport> =>
        new Promise((resolve, reject) => {
          connect(port, sink, (transport) => {
            if (transport) resolve(transport);
            else reject(new Error('not connected'));
          });
        });
      const gone = await open();
      const stays = await open();
      ask(gone, 'GET /gone');
      ask(stays, 'GET /stays');
      if (how === 'reset') gone.reset();
      else gone.destroy();
      await expect.poll(() => peer.received.filter((text) => text !== ''), { timeout: 30_000 }).toEqual(['GET /stays']);
      stays.destroy();
      await expect.poll(() => peer.sockets.every(({ closed }) => closed), { timeout: 30_000 }).toBe(true);
      expect(peer.received.join('')).toBe('GET /stays');
      peer.server.close();
    },
    60_000,
  );
});
