import type { KeptSocket, SocketKeeper } from '../http1/kept-socket.ts';
import type { Logger } from '../telemetry/log.ts';
import type { Seat } from './seat.ts';

export interface Address {
  readonly host: string;
  readonly port: number;
  readonly reusePort: boolean;
}

interface PlacedSocket {
  /** Names the listener to its thread. */
  readonly listener: number;
  readonly thread: number;
  /** undefined: the thread has a socket of its own, which dies with it. */
  readonly kept: KeptSocket | undefined;
  fd: number | undefined;
}

let listeners = 0;

/** An address that the data plane listens on: a socket for each thread, which waits for the next one when a thread dies. */
export class Place {
  host = '';
  port = 0;
  readonly #keeper: SocketKeeper | undefined;
  readonly #seats: readonly Seat[];
  readonly #log: Logger;
  readonly #sockets: PlacedSocket[] = [];
  #reusePort = false;

  constructor(keeper: SocketKeeper | undefined, seats: readonly Seat[], log: Logger) {
    this.#keeper = keeper;
    this.#seats = seats;
    this.#log = log;
  }

  /** Of the sockets, to be passed on to another process. */
  get fds(): readonly number[] {
    return this.#sockets.flatMap(({ fd }) => (fd === undefined ? [] : [fd]));
  }

  /** `fds`: sockets that are open there already. Rejects, with some open, where one cannot be had: `close` it then. */
  async open({ host, port, reusePort }: Address, fds: readonly number[]): Promise<void> {
    this.host = host;
    this.port = port;
    this.#reusePort = reusePort;
    await this.#add(0, fds[0]);
    await Promise.all(this.#seats.slice(1).map((_, at) => this.#addMore(at + 1, fds)));
    // More sockets than threads: what waits in their queues must be answered too.
    for (let at = this.#seats.length; at < fds.length; at++) await this.#add(at % this.#seats.length, fds[at]);
  }

  /** Another thread has taken the seat: it goes on where the last one was. */
  async reopen(thread: number): Promise<void> {
    await Promise.all(this.#sockets.filter((socket) => socket.thread === thread).map((socket) => this.#listen(socket)));
  }

  /** The threads accept no more here. */
  async close(): Promise<void> {
    await Promise.allSettled(
      this.#sockets.map(({ thread, listener }) =>
        (this.#seats[thread] as Seat).ask({ type: 'stopListening', listener }),
      ),
    );
    this.release();
  }

  /** What is kept for threads to come is given up; no thread accepts here any more. */
  release(): void {
    for (const { kept } of this.#sockets.splice(0)) kept?.close();
  }

  async #addMore(thread: number, fds: readonly number[]): Promise<void> {
    try {
      await this.#add(thread, fds[thread]);
    } catch (error) {
      // A socket of systemd without ReusePort=yes has the address for itself.
      if (fds.length === 0) throw error;
      this.#log.warn('a thread has no socket of its own at an inherited address', { thread, error });
    }
  }

  async #add(thread: number, fd: number | undefined): Promise<void> {
    const kept = await this.#keep(fd);
    const socket: PlacedSocket = { listener: ++listeners, thread, kept, fd: kept?.fd ?? fd };
    this.#sockets.push(socket);
    await this.#listen(socket, kept ? undefined : fd);
  }

  async #keep(fd: number | undefined): Promise<KeptSocket | undefined> {
    if (!this.#keeper) return undefined;
    return fd === undefined ? this.#keeper.bind(this.host, this.port, this.#reusePort) : this.#keeper.adopt(fd);
  }

  async #listen(socket: PlacedSocket, inherited?: number): Promise<void> {
    const { listener, thread, kept } = socket;
    const { host } = this;
    const port = kept?.port ?? this.port;
    const fd = kept ? await kept.duplicate() : inherited;
    const seat = this.#seats[thread] as Seat;
    // Whoever accepts must know what there is: a thread that does not would answer 404.
    await seat.feed?.whenApplied();
    const listening = await seat.ask({ type: 'listen', listener, host, port, fd });
    this.host = listening?.host ?? host;
    this.port = listening?.port ?? port;
    socket.fd = kept?.fd ?? listening?.fd;
  }
}
