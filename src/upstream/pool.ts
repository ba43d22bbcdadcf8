import type { Clock } from '../core/clock.ts';
import type { Instance } from '../core/instance.ts';
import { SocketBudget } from '../core/socket-budget.ts';
import { type TimingWheel, WheelEntry } from '../core/wheel.ts';
import { ClientConnection } from '../http1/client-connection.ts';
import type { HeadLimits } from '../http1/head.ts';
import type { Connect } from './connect.ts';

export interface PoolOptions {
  readonly clock: Clock;
  readonly wheel: TimingWheel;
  readonly connect: Connect;
  readonly limits: HeadLimits;
  /**
   * An idle connection is closed after this. Below the shortest keep-alive in common use (Node's 5 s), so that we
   * close first and no request runs into the server's close; a server that says more or less is believed.
   */
  readonly idleMs: number;
  /** Where sockets are counted, and refused when there are none left. Missing: no bound. */
  readonly sockets?: SocketBudget | undefined;
}

/** What the server announced is shortened by this: its clock started before ours. */
const MARGIN_MS = 1000;
/** A request that cannot be repeated only goes on a connection that was in use just now. */
const FRESH_MS = 1000;

/** A knock that was not answered by then is given up: it was to tell quickly. */
const KNOCK_LIMIT_MS = 1000;
const KNOCK_EVERY_MS = 1000;
/** Instances that have had no request for this long are not knocked at. */
const KNOCK_TRAFFIC_MS = 5000;

/** For so long after it refused a connection an instance is not worth another attempt of the same request. */
const REFUSED_MS = 250;

/** What an owner of a pool has to say about knocks, and hears of them. */
export interface Knocks {
  /** Whether it matters just now that the instance may be gone. */
  wanted(slot: number): boolean;
  /** Nobody listens there any more. */
  refused(slot: number): void;
}

/** One connection to an instance, in use or idle. The wheel closes it when it has been idle for too long. */
export class PooledConnection extends WheelEntry {
  readonly slot: number;
  readonly instance: Instance;
  readonly client: ClientConnection;
  /** Its descriptor is counted among those in use. */
  counted = true;
  readonly #pool: Pool;

  constructor(pool: Pool, slot: number, instance: Instance, limits: HeadLimits) {
    super();
    this.#pool = pool;
    this.slot = slot;
    this.instance = instance;
    this.client = new ClientConnection({
      limits,
      onIdleClosed: () => {
        pool.closedByInstance(this);
      },
      onClosed: () => {
        pool.release(this);
      },
    });
  }

  override expire(): void {
    this.#pool.forget(this);
    this.client.abandon();
  }
}

/** What is kept of one instance. */
interface Place {
  readonly idle: PooledConnection[];
  /** When it last served a request, and was last knocked at, on the pool's clock. */
  usedMs: number;
  knockedMs: number;
  /** When it refused the last connection; -Infinity where it took it. */
  refusedMs: number;
  /** Gives up the knock under way. */
  cancelKnock: (() => void) | undefined;
}

/** Idle connections of one thread, by slot of the instance; the last one used is used first. */
export class Pool {
  readonly #options: PoolOptions;
  readonly #sockets: SocketBudget;
  /** Where the next idle connection to be given up is looked for. */
  #cursor = 0;
  readonly #places: (Place | undefined)[] = [];
  /** Connections idle now. */
  idleCount = 0;
  /** Set by the owner; without it there are no knocks. */
  knocks: Knocks | undefined;

  constructor(options: PoolOptions) {
    this.#options = options;
    this.#sockets = options.sockets ?? new SocketBudget({ openFiles: undefined });
  }

  /**
   * An idle connection to the instance, which then is the caller's until `give` or `client.abandon()`; undefined
   * where there is none. `fresh`: only one that was in use a moment ago.
   */
  take(slot: number, fresh: boolean): PooledConnection | undefined {
    const idle = this.#places[slot]?.idle;
    if (!idle) return undefined;
    let at = idle.length - 1;
    // The one whose answer has just ended may have more to say that was read along with it: then it is not for us.
    if (idle[at]?.client.midRead) at--;
    const connection = idle[at];
    if (!connection) return undefined;
    if (fresh && this.#options.clock.now() - connection.client.idleSinceMs > FRESH_MS) return undefined;
    idle.splice(at, 1);
    this.idleCount--;
    this.#options.wheel.cancel(connection);
    return connection;
  }

  /**
   * Opens a connection. `done` comes once, later; the returned function gives up instead. EMFILE where no descriptor is
   * left for it, though idle connections give way.
   */
  connect(
    slot: number,
    instance: Instance,
    done: (connection: PooledConnection | undefined, code: string | undefined) => void,
  ): () => void {
    if (!this.#sockets.takeInstance()) {
      if (!this.giveWay()) return this.#refuse(done);
      this.#sockets.addInstance(1);
    }
    const connection = new PooledConnection(this, slot, instance, this.#options.limits);
    const cancel = this.#options.connect(instance, connection.client, (transport, code) => {
      if (transport) connection.client.transport = transport;
      else this.release(connection);
      this.#noteConnect(slot, code);
      done(transport && connection, code);
    });
    return () => {
      this.release(connection);
      cancel();
    };
  }

  #noteConnect(slot: number, code: string | undefined): void {
    const place = code === 'ECONNREFUSED' ? this.#placeOf(slot) : this.#places[slot];
    if (place) place.refusedMs = code === 'ECONNREFUSED' ? this.#options.clock.now() : -Infinity;
  }

  /** Whether the last connection to the instance was refused, a moment ago. */
  refusedLately(slot: number): boolean {
    const refusedMs = this.#places[slot]?.refusedMs ?? -Infinity;
    return this.#options.clock.now() - refusedMs < REFUSED_MS;
  }

  #refuse(done: (connection: undefined, code: string) => void): () => void {
    this.#sockets.refuseInstance();
    let abandoned = false;
    queueMicrotask(() => {
      if (!abandoned) done(undefined, 'EMFILE');
    });
    return () => {
      abandoned = true;
    };
  }

  /** The descriptor of a connection is free again. */
  release(connection: PooledConnection): void {
    if (!connection.counted) return;
    connection.counted = false;
    this.#sockets.addInstance(-1);
  }

  /** Closes some idle connection, whose descriptor is wanted elsewhere. False where none is idle. */
  giveWay(): boolean {
    if (this.idleCount === 0) return false;
    const places = this.#places.length;
    for (let looked = 0; looked < places; looked++) {
      this.#cursor = this.#cursor + 1 < places ? this.#cursor + 1 : 0;
      // The one that has been idle for longest.
      const connection = this.#places[this.#cursor]?.idle[0];
      if (!connection) continue;
      this.forget(connection);
      connection.client.abandon();
      return true;
    }
    return false;
  }

  /** Takes a connection back after its response has ended, at `nowMs`; closes it where it cannot be used again. */
  give(connection: PooledConnection, maxIdle: number, nowMs: number): void {
    const { client } = connection;
    if (!client.reusable) {
      client.abandon();
      return;
    }
    const place = this.#placeOf(connection.slot);
    place.usedMs = nowMs;
    const announced = client.serverKeepAliveMs;
    const idleMs = announced >= 0 ? announced - MARGIN_MS : this.#options.idleMs;
    if (place.idle.length >= maxIdle || idleMs <= 0) {
      client.abandon();
      return;
    }
    this.#keep(place, connection, nowMs, idleMs);
  }

  /** The connection is about to be closed. */
  forget(connection: PooledConnection): void {
    this.#options.wheel.cancel(connection);
    const idle = this.#places[connection.slot]?.idle;
    const at = idle?.lastIndexOf(connection) ?? -1;
    if (at < 0) return;
    idle?.splice(at, 1);
    this.idleCount--;
  }

  /** An idle connection has died. Where it was the last one, the whole instance may have. */
  closedByInstance(connection: PooledConnection): void {
    this.forget(connection);
    const place = this.#places[connection.slot];
    if (!place || place.idle.length > 0 || this.#options.clock.now() - place.usedMs > KNOCK_TRAFFIC_MS) return;
    // One that was never used came of a knock: an instance that closes those would be knocked at for ever.
    if (connection.client.requests > 0) this.knock(connection.slot, connection.instance);
  }

  /**
   * Something speaks for it that the instance is gone: a connection made now tells, before the next request runs into
   * it. One that comes about stays as an idle one. One at a time, one a second.
   */
  knock(slot: number, instance: Instance): void {
    const { clock } = this.#options;
    const place = this.#placeOf(slot);
    const nowMs = clock.now();
    if (place.cancelKnock || nowMs - place.knockedMs < KNOCK_EVERY_MS) return;
    if (!this.knocks?.wanted(slot)) return;
    place.knockedMs = nowMs;
    const giveUp = this.connect(slot, instance, (connection, code) => {
      stopTimer();
      place.cancelKnock = undefined;
      if (connection) this.#admit(place, connection);
      else if (code === 'ECONNREFUSED') this.knocks?.refused(slot);
    });
    const stopTimer = clock.after(KNOCK_LIMIT_MS, () => {
      place.cancelKnock?.();
    });
    place.cancelKnock = () => {
      place.cancelKnock = undefined;
      stopTimer();
      giveUp();
    };
  }

  /** Closes what is idle to an instance that has gone. */
  drop(slot: number): void {
    const place = this.#places[slot];
    if (!place) return;
    this.#places[slot] = undefined;
    place.cancelKnock?.();
    for (const connection of place.idle) {
      this.idleCount--;
      this.#options.wheel.cancel(connection);
      connection.client.abandon();
    }
  }

  close(): void {
    for (let slot = 0; slot < this.#places.length; slot++) this.drop(slot);
  }

  #placeOf(slot: number): Place {
    return (this.#places[slot] ??= {
      idle: [],
      usedMs: -Infinity,
      knockedMs: -Infinity,
      refusedMs: -Infinity,
      cancelKnock: undefined,
    });
  }

  /** Takes in the connection of a knock, unless others have come meanwhile. */
  #admit(place: Place, connection: PooledConnection): void {
    if (place.idle.length > 0) connection.client.abandon();
    else this.#keep(place, connection, this.#options.clock.now(), this.#options.idleMs);
  }

  #keep(place: Place, connection: PooledConnection, nowMs: number, idleMs: number): void {
    const { client } = connection;
    // It may have been held back for a slow client; idle, it must hear when the server closes.
    client.resume();
    client.idleSinceMs = nowMs;
    place.idle.push(connection);
    this.idleCount++;
    this.#options.wheel.schedule(connection, nowMs + idleMs);
  }
}
