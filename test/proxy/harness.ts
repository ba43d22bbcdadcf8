import net from 'node:net';
import { lookup } from 'node:dns';
import type { Breaker, Permit } from '../../src/breaker/breaker.ts';
import { createBalancer } from '../../src/balance/create.ts';
import { AddressPolicy } from '../../src/core/address.ts';
import { systemClock } from '../../src/core/clock.ts';
import { instance } from '../../src/core/instance.ts';
import type { Outcome } from '../../src/core/outcome.ts';
import type { ServicePolicy } from '../../src/core/policy.ts';
import { seededRandom } from '../../src/core/random.ts';
import { TimingWheel } from '../../src/core/wheel.ts';
import { Stage } from '../../src/http1/stage.ts';
import { WriteBatch } from '../../src/http1/write-batch.ts';
import type { ProxyContext, Route } from '../../src/proxy/context.ts';
import { Proxy } from '../../src/proxy/proxy.ts';
import { RequestIds } from '../../src/proxy/request-id.ts';
import { RetryBudget } from '../../src/proxy/retry.ts';
import { TrafficMeters } from '../../src/telemetry/traffic.ts';
import { connector } from '../../src/upstream/connect.ts';
import type { Member, ServiceState } from '../../src/upstream/directory.ts';
import { Figures } from '../../src/upstream/figures.ts';
import { Pool } from '../../src/upstream/pool.ts';
import type { View } from '../../src/upstream/view.ts';
import { POLICY as DEFAULTS } from '../policy.ts';

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

/** How an origin treats one connection: called with all bytes so far and the socket, after each read. */
export type Script = (received: Buffer, socket: net.Socket, connection: number) => void;

/** An origin that remembers every byte of every connection. */
export class Origin {
  readonly connections: Buffer[] = [];
  readonly sockets = new Set<net.Socket>();
  /** Connections that ended, by number. */
  readonly ended: number[] = [];
  readonly #server: net.Server;

  private constructor(script: Script) {
    this.#server = net.createServer({ allowHalfOpen: false }, (socket) => {
      const number = this.connections.push(Buffer.alloc(0)) - 1;
      this.sockets.add(socket);
      socket.on('data', (bytes) => {
        this.connections[number] = Buffer.concat([this.connections[number]!, bytes]);
        script(this.connections[number], socket, number);
      });
      socket.on('error', () => undefined);
      socket.on('close', () => {
        this.sockets.delete(socket);
        this.ended.push(number);
      });
    });
  }

  static async start(script: Script): Promise<Origin> {
    const origin = new Origin(script);
    await new Promise<void>((resolve) => origin.#server.listen(0, '127.0.0.1', resolve));
    return origin;
  }

  get port(): number {
    return (this.#server.address() as net.AddressInfo).port;
  }

  /** Everything that ever arrived. */
  get bytes(): string {
    return Buffer.concat(this.connections).toString('latin1');
  }

  async stop(): Promise<void> {
    for (const socket of this.sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

/** Answers every complete head (bodies must be framed by Content-Length) with `response`, which may depend on the head. */
export function answering(response: string | ((head: string) => string)): Script {
  const done = new WeakMap<net.Socket, number>();
  return (received, socket) => {
    let from = done.get(socket) ?? 0;
    while (true) {
      const end = received.indexOf('\r\n\r\n', from);
      if (end < 0) return;
      const head = received.toString('latin1', from, end + 4);
      const length = Number(/\r\ncontent-length: (\d+)/i.exec(head)?.[1] ?? 0);
      let next = end + 4 + length;
      if (/\r\ntransfer-encoding: chunked/i.test(head)) {
        const last = received.indexOf('0\r\n\r\n', end + 4);
        if (last < 0) return;
        next = last + 5;
      }
      if (received.length < next) return;
      from = next;
      done.set(socket, from);
      socket.write(Buffer.from(typeof response === 'string' ? response : response(head), 'latin1'));
    }
  };
}

export const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';

export const POLICY: ServicePolicy = {
  ...DEFAULTS,
  balancer: 'round-robin',
  timeouts: { connectMs: 300, responseHeadMs: 2000, bodyIdleMs: 2000, tunnelIdleMs: 5000 },
  maxIdleConnections: 16,
};

export interface GatewayOptions {
  readonly policy?: Partial<ServicePolicy>;
  readonly plainSockets?: boolean;
  readonly requestHeadMs?: number;
  readonly keepAliveMs?: number;
  readonly bodyIdleMs?: number;
  readonly bodyMinBytesPerSecond?: number;
  readonly bodyGraceMs?: number;
  readonly trusted?: (address: string) => boolean;
  readonly allowUnderscores?: boolean;
  readonly onHanging?: ProxyContext['onHanging'];
}

/** The data path on real sockets, with the fleet reduced to a fixed list of instances of one service, `web`. */
export class TestGateway {
  readonly proxy: Proxy;
  readonly context: ProxyContext;
  readonly service: Mutable<ServiceState> & { view: View };
  readonly outcomes: { slot: number; outcome: Outcome }[] = [];
  readonly refusals: string[] = [];
  readonly figures = new Figures(64);
  port = 0;
  readonly #wheel = new TimingWheel({ clock: systemClock, tickMs: 10, slots: 1024 });

  private constructor(ports: readonly number[], options: GatewayOptions) {
    const limits = { headBytes: 32_768, headFields: 100, targetBytes: 8192 };
    const addresses = new AddressPolicy({ allowLoopback: true });
    const slots = Int32Array.from(ports, (_, slot) => slot);
    for (const slot of slots) this.figures.clear(slot);
    const members: Member[] = [];
    this.service = {
      name: 'web',
      index: 2,
      configured: true,
      policy: { ...POLICY, ...options.policy },
      balancer: createBalancer(options.policy?.balancer ?? 'round-robin', this.figures, seededRandom(1)),
      view: {
        service: 'web',
        revision: 1,
        slots,
        trials: new Int32Array(0),
        uniform: true,
        registered: slots.length,
        available: slots.length,
        panic: false,
        fallback: false,
        empty: slots.length === 0 ? 'none-registered' : undefined,
      },
      members: new Map(),
      takeTrial: () => -1,
    };
    for (const [slot, port] of ports.entries()) {
      const permit: Permit = { trial: false, settle: (outcome) => this.outcomes.push({ slot, outcome }) };
      members.push({
        slot,
        service: this.service,
        instance: instance({ id: `i${slot}`, service: 'web', host: '127.0.0.1', port }),
        leaving: false,
        breaker: undefined as Breaker | undefined,
        health: { registered: 'up', probe: 'passing', breaker: 'closed', ejected: false, drained: false },
        admit: () => permit,
        guard: () => undefined,
      });
    }
    const meters = new TrafficMeters({ services: 8 });
    const route: Route = {
      service: this.service,
      meters: meters.row(2),
      budget: new RetryBudget(1, 1000, systemClock.now()),
    };
    const plainSockets = options.plainSockets ?? false;
    const stage = new Stage();
    this.context = {
      clock: systemClock,
      wheel: this.#wheel,
      fleet: { members, released: () => undefined },
      figures: this.figures,
      pool: new Pool({
        clock: systemClock,
        wheel: this.#wheel,
        connect: connector({ addresses, lookup, plainSockets }),
        limits,
        idleMs: 4000,
      }),
      stage,
      batch: new WriteBatch(stage),
      router: { revision: 1, route: (host) => (host === 'web.localhost' || host === '[::1]' ? route : undefined) },
      ids: new RequestIds(seededRandom(7)),
      strayMeters: meters.row(0),
      accessLog: undefined,
      allowUnderscores: options.allowUnderscores ?? false,
      ...(options.onHanging ? { onHanging: options.onHanging } : {}),
      isTrustedProxy: options.trusted ?? (() => false),
      onRefused: (reason) => this.refusals.push(reason),
      requests: { own: 0, limit: 10_000, refuse: () => undefined },
      stopping: false,
    };
    this.proxy = new Proxy({
      context: this.context,
      connection: {
        clock: systemClock,
        wheel: this.#wheel,
        limits,
        requestHeadMs: options.requestHeadMs ?? 2000,
        keepAliveMs: options.keepAliveMs ?? 5000,
        bodyIdleMs: options.bodyIdleMs ?? 5000,
        bodyMinBytesPerSecond: options.bodyMinBytesPerSecond ?? 240,
        bodyGraceMs: options.bodyGraceMs ?? 2000,
      },
      maxConnections: 10_000,
      plainSockets,
      onAcceptError: () => undefined,
    });
  }

  static async start(ports: readonly number[], options: GatewayOptions = {}): Promise<TestGateway> {
    const gateway = new TestGateway(ports, options);
    gateway.port = (await gateway.proxy.listen('127.0.0.1', 0)).port;
    return gateway;
  }

  /** Attempts counted as in flight, over all instances. */
  get inflight(): number {
    return this.figures.inflight.reduce((sum, count) => sum + count, 0);
  }

  stop(): void {
    this.proxy.close();
    this.#wheel.stop();
  }
}

/** A client of raw bytes. */
export class RawClient {
  received: Buffer = Buffer.alloc(0);
  ended = false;
  /** Closed by error (RST, say) and not by FIN. */
  broken = false;
  readonly socket: net.Socket;
  #wake: (() => void)[] = [];

  private constructor(socket: net.Socket) {
    this.socket = socket;
    socket.setNoDelay(true);
    socket.on('data', (bytes: Buffer) => {
      this.received = Buffer.concat([this.received, bytes]);
      this.#notify();
    });
    socket.on('end', () => {
      this.ended = true;
      this.#notify();
    });
    socket.on('error', () => {
      this.broken = true;
      this.#notify();
    });
    socket.on('close', () => {
      this.ended = true;
      this.#notify();
    });
  }

  static async connect(port: number): Promise<RawClient> {
    const socket = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true });
    await new Promise<void>((resolve, reject) => {
      socket.once('connect', resolve);
      socket.once('error', reject);
    });
    return new RawClient(socket);
  }

  get text(): string {
    return this.received.toString('latin1');
  }

  send(text: string | Buffer): void {
    this.socket.write(typeof text === 'string' ? Buffer.from(text, 'latin1') : text);
  }

  /** Waits until `condition` holds; fails with what was received when it does not in time. */
  async until(condition: () => boolean, withinMs = 3000): Promise<void> {
    const deadline = Date.now() + withinMs;
    while (!condition()) {
      const leftMs = deadline - Date.now();
      if (leftMs <= 0)
        throw new Error(`not within ${withinMs} ms; received: ${JSON.stringify(this.text.slice(0, 2000))}`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, Math.min(leftMs, 50));
        this.#wake.push(() => {
          clearTimeout(timer);
          resolve();
        });
      });
    }
  }

  /** Resolves when the gateway has closed the connection. */
  async closed(withinMs = 4000): Promise<string> {
    await this.until(() => this.ended || this.broken, withinMs);
    return this.text;
  }

  destroy(): void {
    this.socket.destroy();
  }

  #notify(): void {
    const waiting = this.#wake;
    this.#wake = [];
    for (const wake of waiting) wake();
  }
}

/** Sends one request text and returns the whole answer, once the gateway has closed or `OK`'s body has come. */
export async function roundTrip(port: number, request: string): Promise<string> {
  const client = await RawClient.connect(port);
  client.send(request);
  await client.until(() => client.ended || client.text.endsWith('ok') || /\}\n$/.test(client.text));
  client.destroy();
  return client.text;
}
