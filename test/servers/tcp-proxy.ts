import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';

/** A relay between a client and a server that can fail as networks do. */
export class TcpProxy {
  readonly #server: Server;
  readonly #pairs = new Set<readonly [Socket, Socket]>();
  #blackHole = false;

  private constructor(server: Server) {
    this.#server = server;
  }

  static async to(port: number, host = '127.0.0.1'): Promise<TcpProxy> {
    const server = createServer({ noDelay: true });
    const proxy = new TcpProxy(server);
    server.on('connection', (near) => proxy.#relay(near, port, host));
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return proxy;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  get connections(): number {
    return this.#pairs.size;
  }

  /** From now on nothing arrives anywhere, and nobody is told: no RST, no FIN, connections stay open. */
  blackHole(): void {
    this.#blackHole = true;
  }

  /** New connections work again. Those of before stay dead, as behind a firewall that forgot them. */
  heal(): void {
    this.#blackHole = false;
  }

  /** Nothing is lost and nothing moves: both sides see a peer that does not read. */
  pause(): void {
    for (const pair of this.#pairs) for (const socket of pair) socket.pause();
  }

  resume(): void {
    for (const pair of this.#pairs) for (const socket of pair) socket.resume();
  }

  /** Breaks every connection with a reset. */
  reset(): void {
    for (const pair of this.#pairs) for (const socket of pair) socket.resetAndDestroy();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const pair of this.#pairs) for (const socket of pair) socket.destroy();
    await once(this.#server.close(), 'close');
  }

  #relay(near: Socket, port: number, host: string): void {
    const far = connect({ port, host, noDelay: true });
    const pair = [near, far] as const;
    let swallowed = this.#blackHole;
    this.#pairs.add(pair);
    for (const [from, to] of [pair, [far, near] as const]) {
      from.on('data', (chunk) => {
        swallowed ||= this.#blackHole;
        if (!swallowed) to.write(chunk);
      });
      // An end is an answer too: a black hole swallows it.
      from.on('close', () => {
        if (swallowed || this.#blackHole) return;
        this.#pairs.delete(pair);
        to.destroy();
      });
      from.on('error', () => to.destroy());
    }
  }
}
