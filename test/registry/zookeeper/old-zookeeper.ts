import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { frame, FrameReader } from '../../../src/registry/zookeeper/frames.ts';
import { CODE, OP } from '../../../src/registry/zookeeper/messages.ts';

/**
 * A newer ZooKeeper made to behave as those before 3.6: an `addWatch` is answered UNIMPLEMENTED, and the connection is
 * closed after it (UnimplementedRequestProcessor). Everything else passes.
 */
export class OldZookeeper {
  refused = 0;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  private constructor(server: Server) {
    this.#server = server;
  }

  static async before(port: number): Promise<OldZookeeper> {
    const server = createServer({ noDelay: true });
    const made = new OldZookeeper(server);
    server.on('connection', (near) => made.#relay(near, port));
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return made;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await once(this.#server.close(), 'close');
  }

  #relay(near: Socket, port: number): void {
    const far = connect({ port, host: '127.0.0.1', noDelay: true });
    const frames = new FrameReader(1_000_000);
    let connected = false;
    let refused = false;
    for (const [from, to] of [[near, far] as const, [far, near] as const]) {
      this.#sockets.add(from);
      from.on('error', () => to.destroy());
      from.on('close', () => to.destroy());
    }
    far.on('data', (chunk) => near.write(chunk));
    near.on('data', (chunk) => {
      for (const message of frames.push(chunk)) {
        if (refused) continue;
        if (connected && message.readInt32BE(4) === OP.addWatch) {
          this.refused += 1;
          refused = true;
          const reply = Buffer.alloc(16);
          reply.writeInt32BE(message.readInt32BE(0));
          reply.writeInt32BE(CODE.unimplemented, 12);
          near.end(frame(reply));
        } else far.write(frame(message));
        connected = true;
      }
    });
  }
}
