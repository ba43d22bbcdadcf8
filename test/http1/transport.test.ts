import net from 'node:net';
import { afterAll, describe, expect, it } from 'vitest';
import { acceptHandles, connectHandle, handlesAvailable, HandleTransport } from '../../src/http1/handle-transport.ts';
import { connectSocket, SocketTransport } from '../../src/http1/socket-transport.ts';
import type { Transport } from '../../src/http1/transport.ts';
import { type Layer, RecordingSink, transportContract } from './transport.contract.ts';

/** A server that hands every accepted connection to `make`. */
class Acceptor {
  readonly #server: net.Server;
  readonly #waiting: ((transport: Transport) => void)[] = [];
  readonly #sinks: RecordingSink[] = [];
  #port: Promise<number> | undefined;
  readonly #handles: boolean;

  constructor(handles: boolean) {
    this.#handles = handles;
    this.#server = net.createServer({ allowHalfOpen: true, pauseOnConnect: true }, (socket) => {
      const sink = this.#sinks.shift()!;
      this.#waiting.shift()!(new SocketTransport(socket, sink));
    });
  }

  async accept(): Promise<{ transport: Transport; sink: RecordingSink; peer: net.Socket }> {
    this.#port ??= new Promise((resolve) => {
      this.#server.listen(0, '127.0.0.1', () => {
        if (this.#handles) {
          acceptHandles(
            this.#server,
            (handle) => {
              const sink = this.#sinks.shift()!;
              this.#waiting.shift()!(new HandleTransport(handle, sink));
            },
            (code) => expect.unreachable(code),
          );
        }
        resolve((this.#server.address() as net.AddressInfo).port);
      });
    });
    const port = await this.#port;
    const sink = new RecordingSink();
    this.#sinks.push(sink);
    const accepted = new Promise<Transport>((resolve) => this.#waiting.push(resolve));
    const peer = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true });
    const transport = await accepted;
    if (peer.connecting) await new Promise((resolve) => peer.once('connect', resolve));
    return { transport, sink, peer };
  }

  close(): void {
    this.#server.close();
  }
}

const handles = new Acceptor(true);
const sockets = new Acceptor(false);
afterAll(() => {
  handles.close();
  sockets.close();
});

const handleLayer: Layer = {
  accept: () => handles.accept(),
  connect: (port, sink, done, address = '127.0.0.1') => connectHandle(address, port, sink, done),
  ownMemory: true,
};
const socketLayer: Layer = {
  accept: () => sockets.accept(),
  connect: (port, sink, done, address = '127.0.0.1') => connectSocket({ address, port }, sink, done),
  ownMemory: false,
};

it('this Node offers bare handles', () => {
  expect(handlesAvailable).toBe(true);
});

describe('HandleTransport', () => {
  transportContract(handleLayer);
});

describe('SocketTransport', () => {
  transportContract(socketLayer);
});
