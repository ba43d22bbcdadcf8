import { ManualClock } from '../../src/core/clock.ts';
import type { ServicePolicy } from '../../src/core/policy.ts';
import { TimingWheel } from '../../src/core/wheel.ts';
import { ServerConnection, type ServerConnectionOptions } from '../../src/http1/server-connection.ts';
import { Stage } from '../../src/http1/stage.ts';
import { WriteBatch } from '../../src/http1/write-batch.ts';
import type { ProxyContext } from '../../src/proxy/context.ts';
import type { Delivery } from '../../src/proxy/delivery.ts';
import { Exchange } from '../../src/proxy/exchange.ts';
import { PlaceQueues } from '../../src/proxy/place-queue.ts';
import { WaitingList } from '../../src/proxy/waiting.ts';
import { Pool } from '../../src/upstream/pool.ts';
import { MemoryTransport } from '../http1/memory-transport.ts';
import { type ReadMessage, valuesOf } from '../http1/strict-reader.ts';
import { TestGateway } from '../proxy/harness.ts';

/** One connection to an instance, seen from the instance. */
export interface InstanceSide {
  readonly number: number;
  readonly slot: number;
  readonly transport: MemoryTransport;
}

export interface ClientSide {
  readonly transport: MemoryTransport;
  readonly exchange: Exchange;
  /** The gateway holds nothing for this client any more. */
  closed: boolean;
}

export interface MemoryGatewayOptions {
  readonly instances?: number;
  readonly policy?: Partial<ServicePolicy>;
  /** How much memory messages are put together in: little, so that it comes to its end often. */
  readonly stageBytes?: number;
  /** An errno name makes the connection fail; `never` leaves it open. */
  readonly connect?: (slot: number) => 'ok' | 'never' | (string & {});
}

/**
 * The data path with sockets and time replaced: everything is decided by the test, and runs as fast as it can. What it
 * is made of is the gateway's own: connections, exchanges, pool, retries, batches.
 */
export class MemoryGateway {
  readonly clock = new ManualClock();
  readonly context: ProxyContext;
  readonly instances: InstanceSide[] = [];
  readonly clients = new Set<ClientSide>();
  readonly #base: TestGateway;
  readonly #waiting: WaitingList<Delivery>;
  readonly #queues = new PlaceQueues(this.clock);
  readonly #connection: ServerConnectionOptions;

  private constructor(base: TestGateway, options: MemoryGatewayOptions) {
    this.#base = base;
    this.#waiting = new WaitingList(base.context.figures.capacity);
    // What was made before the clock was changed has seen the real one.
    this.clock.advance(Math.ceil(performance.now()) + 1000);
    const wheel = new TimingWheel({ clock: this.clock, tickMs: 10, slots: 1024 });
    const limits = { headBytes: 32_768, headFields: 100, targetBytes: 8192 };
    const stage = new Stage(options.stageBytes);
    this.context = {
      ...base.context,
      clock: this.clock,
      wheel,
      stage,
      batch: new WriteBatch(stage),
      pool: new Pool({
        clock: this.clock,
        wheel,
        limits,
        idleMs: 4000,
        connect: (instance, sink, done) => {
          let abandoned = false;
          queueMicrotask(() => {
            if (abandoned) return;
            const slot = Number(instance.id.slice(1));
            const verdict = options.connect?.(slot) ?? 'ok';
            if (verdict === 'never') return;
            if (verdict !== 'ok') {
              done(undefined, verdict);
              return;
            }
            const transport = new MemoryTransport(sink);
            this.instances.push({ number: this.instances.length, slot, transport });
            done(transport, undefined);
          });
          return () => {
            abandoned = true;
          };
        },
      }),
    };
    this.#connection = {
      clock: this.clock,
      wheel,
      limits,
      requestHeadMs: 10_000,
      keepAliveMs: 65_000,
      bodyIdleMs: 60_000,
      bodyMinBytesPerSecond: 240,
      bodyGraceMs: 10_000,
    };
  }

  static async start(options: MemoryGatewayOptions = {}): Promise<MemoryGateway> {
    const ports = Array.from({ length: options.instances ?? 1 }, (_, i) => i + 1);
    const base = await TestGateway.start(ports, options.policy ? { policy: options.policy } : {});
    return new MemoryGateway(base, options);
  }

  get inflight(): number {
    return this.#base.inflight;
  }

  get outcomes(): TestGateway['outcomes'] {
    return this.#base.outcomes;
  }

  get refusals(): string[] {
    return this.#base.refusals;
  }

  connect(): ClientSide {
    const exchange = new Exchange(this.context, { waiting: this.#waiting, queues: this.#queues });
    const connection = new ServerConnection(this.#connection, exchange);
    exchange.connection = connection;
    const client: ClientSide = { transport: new MemoryTransport(connection), exchange, closed: false };
    this.clients.add(client);
    exchange.onClosed = () => {
      client.closed = true;
      this.clients.delete(client);
    };
    connection.attach(client.transport);
    return client;
  }

  /** Whether a request is for a service that there is. */
  routes(message: ReadMessage): boolean {
    const absolute = /^\S+ https?:\/\/([^/?\s]*)/i.exec(message.line);
    const authority = absolute ? absolute[1] : valuesOf(message, 'host')[0];
    const host = (authority ?? '').toLowerCase().replace(/:\d+$/, '');
    return this.context.router.route(host) !== undefined;
  }

  /** Lets the turn end: microtasks, and what was batched. */
  async turn(): Promise<void> {
    await new Promise((resolve) => setImmediate(resolve));
    this.pump();
  }

  /** Delivers what waits on connections that are read again. */
  pump(): void {
    for (const { transport } of this.clients) transport.pump();
    for (const { transport } of this.instances) transport.pump();
  }

  stop(): void {
    this.context.pool.close();
    this.#base.stop();
  }
}
