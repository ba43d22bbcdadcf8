import type { Clock } from '../core/clock.ts';
import type { Instance } from '../core/instance.ts';
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
}

/** What the server announced is shortened by this: its clock started before ours. */
const MARGIN_MS = 1000;
/** A request that cannot be repeated only goes on a connection that was in use just now. */
const FRESH_MS = 1000;

/** One connection to an instance, in use or idle. The wheel closes it when it has been idle for too long. */
export class PooledConnection extends WheelEntry {
  readonly slot: number;
  readonly client: ClientConnection;
  readonly #pool: Pool;

  constructor(pool: Pool, slot: number, limits: HeadLimits) {
    super();
    this.#pool = pool;
    this.slot = slot;
    this.client = new ClientConnection({
      limits,
      onIdleClosed: () => {
        pool.forget(this);
      },
    });
  }

  override expire(): void {
    this.#pool.forget(this);
    this.client.abandon();
  }
}

/** Idle connections of one thread, by slot of the instance; the last one used is used first. */
export class Pool {
  readonly #options: PoolOptions;
  readonly #idle: (PooledConnection[] | undefined)[] = [];
  /** Connections idle now. */
  idleCount = 0;

  constructor(options: PoolOptions) {
    this.#options = options;
  }

  /**
   * An idle connection to the instance, which then is the caller's until `give` or `client.abandon()`; undefined
   * where there is none. `fresh`: only one that was in use a moment ago.
   */
  take(slot: number, fresh: boolean): PooledConnection | undefined {
    const idle = this.#idle[slot];
    const connection = idle?.[idle.length - 1];
    if (!idle || !connection) return undefined;
    if (fresh && this.#options.clock.now() - connection.client.idleSinceMs > FRESH_MS) return undefined;
    idle.pop();
    this.idleCount--;
    this.#options.wheel.cancel(connection);
    return connection;
  }

  /** Opens a connection. `done` comes once, later; the returned function gives up instead. */
  connect(
    slot: number,
    instance: Instance,
    done: (connection: PooledConnection | undefined, code: string | undefined) => void,
  ): () => void {
    const connection = new PooledConnection(this, slot, this.#options.limits);
    return this.#options.connect(instance, connection.client, (transport, code) => {
      if (transport) connection.client.transport = transport;
      done(transport && connection, code);
    });
  }

  /** Takes a connection back after its response has ended, at `nowMs`; closes it where it cannot be used again. */
  give(connection: PooledConnection, maxIdle: number, nowMs: number): void {
    const { client } = connection;
    if (!client.reusable) {
      client.abandon();
      return;
    }
    const idle = (this.#idle[connection.slot] ??= []);
    const announced = client.serverKeepAliveMs;
    const idleMs = announced >= 0 ? announced - MARGIN_MS : this.#options.idleMs;
    if (idle.length >= maxIdle || idleMs <= 0) {
      client.abandon();
      return;
    }
    // It may have been held back for a slow client; idle, it must hear when the server closes.
    client.resume();
    client.idleSinceMs = nowMs;
    idle.push(connection);
    this.idleCount++;
    this.#options.wheel.schedule(connection, nowMs + idleMs);
  }

  /** The connection has died or is about to be closed. */
  forget(connection: PooledConnection): void {
    this.#options.wheel.cancel(connection);
    const idle = this.#idle[connection.slot];
    const at = idle?.lastIndexOf(connection) ?? -1;
    if (at < 0) return;
    idle?.splice(at, 1);
    this.idleCount--;
  }

  /** Closes what is idle to an instance that has gone. */
  drop(slot: number): void {
    const idle = this.#idle[slot];
    this.#idle[slot] = undefined;
    for (const connection of idle ?? []) {
      this.idleCount--;
      this.#options.wheel.cancel(connection);
      connection.client.abandon();
    }
  }

  close(): void {
    for (let slot = 0; slot < this.#idle.length; slot++) this.drop(slot);
  }
}
