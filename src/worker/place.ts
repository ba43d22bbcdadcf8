import { closeSync } from 'node:fs';
import type { KeptSocket, SocketKeeper } from '../http1/kept-socket.ts';
import { mistakeOf } from '../http1/listening-socket.ts';
import type { Logger } from '../telemetry/log.ts';
import type { Listening } from './messages.ts';
import { type Seat, ThreadEnded } from './seat.ts';

export interface Address {
  readonly host: string;
  readonly port: number;
  readonly reusePort: boolean;
}

/** Sockets that listen at an address already. */
export interface GivenSockets {
  readonly fds: readonly number[];
  /** Somebody else holds them open, and lets clients wait there when we end: in a socket of ours they would be reset. */
  readonly held: boolean;
}

interface PlacedSocket {
  /** Names the listener to its thread. */
  readonly listener: number;
  readonly thread: number;
  /** undefined: the thread has a socket of its own, which dies with it. */
  readonly kept: KeptSocket | undefined;
  fd: number | undefined;
  /** Who accepts from it while its own thread dies again and again. */
  deputy?: Deputy | undefined;
}

interface Deputy {
  readonly listener: number;
  readonly seat: Seat;
  readonly life: number;
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
  /** As it was asked for. */
  #wanted = { host: '', port: 0 };
  #closed = false;

  constructor(keeper: SocketKeeper | undefined, seats: readonly Seat[], log: Logger) {
    this.#keeper = keeper;
    this.#seats = seats;
    this.#log = log;
  }

  /** Of the sockets, to be passed on to another process. */
  get fds(): readonly number[] {
    return this.#sockets.flatMap(({ fd }) => (fd === undefined ? [] : [fd]));
  }

  /** Rejects, with some open, where one cannot be had: `close` it then. */
  async open({ host, port, reusePort }: Address, given: GivenSockets): Promise<void> {
    const { fds } = given;
    this.host = host;
    this.port = port;
    this.#reusePort = reusePort;
    this.#wanted = { host, port };
    const open = [await this.#add(0, fds[0])];
    open.push(...(await Promise.all(this.#seats.slice(1).map((_, at) => this.#addMore(at + 1, given)))));
    // More sockets than threads: what waits in their queues must be answered too.
    for (let at = this.#seats.length; at < fds.length; at++)
      open.push(await this.#add(at % this.#seats.length, fds[at]));
    if (!open.includes(true)) throw new Error('every thread has ended before it could listen');
  }

  /** Another thread has taken the seat: it goes on where the last one was. */
  async reopen(thread: number): Promise<void> {
    const own = this.#sockets.filter((socket) => socket.thread === thread);
    await Promise.all(
      own.map(async (socket) => {
        if (await this.#listen(socket)) await this.#dismiss(socket);
      }),
    );
  }

  /**
   * A thread accepts nothing for longer than a client should wait: others accept from its sockets, until `reopen`. Without
   * kept sockets there is nothing to accept from.
   */
  async cover(): Promise<void> {
    const able = this.#seats.filter(({ accepts }) => accepts);
    await Promise.all(
      this.#sockets.map(async (socket, at) => {
        const seat = able[at % able.length];
        if (!seat || !socket.kept || this.#isServed(socket)) return;
        const deputy = { listener: ++listeners, seat, life: seat.life };
        socket.deputy = deputy;
        await this.#ask(socket, deputy);
        // Its own thread may have come back meanwhile.
        if (socket.deputy !== deputy) await stop(deputy);
      }),
    );
  }

  /** The threads accept no more here. */
  async close(): Promise<void> {
    this.#closed = true;
    await Promise.allSettled(
      this.#sockets.flatMap((socket) => [
        (this.#seats[socket.thread] as Seat).ask({ type: 'stopListening', listener: socket.listener }),
        this.#dismiss(socket),
      ]),
    );
    this.release();
  }

  /** What is kept for threads to come is given up; no thread accepts here any more. */
  release(): void {
    this.#closed = true;
    for (const { kept } of this.#sockets.splice(0)) kept?.close();
  }

  async #addMore(thread: number, { fds, held }: GivenSockets): Promise<boolean> {
    const [first] = this.#sockets;
    try {
      return await this.#add(thread, fds[thread] ?? (held ? await first?.kept?.duplicate() : undefined));
    } catch (error) {
      // The socket of whoever was here before may have the address for itself.
      if (fds.length === 0) throw error;
      this.#log.warn('a thread has no socket of its own at an inherited address', { thread, error });
      return false;
    }
  }

  /** False where its thread has ended meanwhile: the next one listens. */
  async #add(thread: number, fd: number | undefined): Promise<boolean> {
    const kept = await this.#keep(fd);
    const socket: PlacedSocket = { listener: ++listeners, thread, kept, fd: kept?.fd ?? fd };
    this.#sockets.push(socket);
    return this.#listen(socket, kept ? undefined : fd);
  }

  async #keep(fd: number | undefined): Promise<KeptSocket | undefined> {
    if (!this.#keeper) return undefined;
    if (fd === undefined) return this.#keeper.bind(this.host, this.port, this.#reusePort);
    const kept = this.#keeper.adopt(fd);
    const mistake = mistakeOf(fd, kept, this.#wanted);
    if (mistake === undefined) return kept;
    kept.close();
    throw new Error(mistake);
  }

  async #listen(socket: PlacedSocket, inherited?: number): Promise<boolean> {
    const { listener, thread, kept } = socket;
    const seat = this.#seats[thread] as Seat;
    if (kept) {
      this.host = kept.host;
      this.port = kept.port;
    }
    // Whoever accepts must know what there is: a thread that does not would answer 404.
    await seat.feed?.whenApplied();
    const listening = await this.#ask(socket, { listener, seat, life: seat.life }, inherited);
    this.host = listening?.host ?? this.host;
    this.port = listening?.port ?? this.port;
    socket.fd = kept?.fd ?? listening?.fd;
    return listening !== undefined;
  }

  /** Undefined where the thread has ended meanwhile, and the socket is kept for the next one. Rejects for other reasons. */
  async #ask(
    { kept }: PlacedSocket,
    { listener, seat, life }: Deputy,
    inherited?: number,
  ): Promise<Listening | undefined> {
    if (this.#closed) return undefined;
    const fd = kept ? await kept.duplicate() : inherited;
    try {
      if (seat.life !== life || this.#isClosed()) throw new ThreadEnded('another one has its place', true);
      const listening = await seat.ask({
        type: 'listen',
        listener,
        host: this.host,
        port: kept?.port ?? this.port,
        fd,
      });
      // Closed while a thread was about to take its place.
      if (this.#isClosed()) await stop({ listener, seat, life });
      return listening;
    } catch (error) {
      if (!kept || fd === undefined || !(error instanceof ThreadEnded)) throw error;
      // A descriptor that no thread has taken is nobody's: one that has, took it with it.
      if (error.untouched) closeSync(fd);
      return undefined;
    }
  }

  /** For after an await, where the compiler still believes what it saw before. */
  #isClosed(): boolean {
    return this.#closed;
  }

  #isServed({ thread, deputy }: PlacedSocket): boolean {
    const own = this.#seats[thread]?.accepts === true;
    return own || (deputy !== undefined && deputy.seat.life === deputy.life && deputy.seat.isTaken);
  }

  async #dismiss(socket: PlacedSocket): Promise<void> {
    const { deputy } = socket;
    socket.deputy = undefined;
    if (deputy) await stop(deputy);
  }
}

async function stop({ seat, life, listener }: Deputy): Promise<void> {
  if (seat.life !== life) return;
  // One that ends instead has stopped too.
  await seat.ask({ type: 'stopListening', listener }).catch(() => undefined);
}
