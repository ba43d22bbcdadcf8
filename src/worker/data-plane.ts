import { lookup } from 'node:dns';
import type { GatewayConfig } from '../config/config.ts';
import { type AddressPolicy, contains, ipOf, parseCidr } from '../core/address.ts';
import type { Clock } from '../core/clock.ts';
import type { Random } from '../core/random.ts';
import type { SocketBudget } from '../core/socket-budget.ts';
import { TimingWheel } from '../core/wheel.ts';
import type { ServerConnectionOptions } from '../http1/server-connection.ts';
import { Stage } from '../http1/stage.ts';
import { WriteBatch } from '../http1/write-batch.ts';
import type { ProxyContext, RequestsUnderWay, RoutedFleet, Router } from '../proxy/context.ts';
import { Proxy } from '../proxy/proxy.ts';
import { RequestIds } from '../proxy/request-id.ts';
import type { AccessLog } from '../telemetry/access-log.ts';
import type { ServiceMeters } from '../telemetry/traffic.ts';
import { type Connect, connector } from '../upstream/connect.ts';
import type { RoutedMember } from '../upstream/directory.ts';
import type { Figures } from '../upstream/figures.ts';
import { Pool } from '../upstream/pool.ts';

export interface DataPlaneOptions {
  readonly config: GatewayConfig;
  readonly clock: Clock;
  readonly random: Random;
  readonly fleet: RoutedFleet;
  readonly figures: Figures;
  readonly router: Router;
  /** Of requests that reach no service. */
  readonly strayMeters: ServiceMeters;
  readonly addresses: AddressPolicy;
  readonly sockets: SocketBudget;
  readonly requests: RequestsUnderWay;
  readonly accessLog: AccessLog | undefined;
  readonly reusePort: boolean;
  /** In place of sockets: for simulations. */
  readonly connect?: Connect | undefined;
  readonly onRefused: (reason: string) => void;
  readonly onAcceptError: (code: string) => void;
  readonly onHanging: (member: RoutedMember, cause: string) => void;
  readonly onRefusing: (member: RoutedMember, cause: string) => void;
}

/** Below Node's keep-alive of 5 s, the shortest in common use: we close first. */
const UPSTREAM_IDLE_MS = 4000;

/** Later than this is this process stopped or its loop blocked, and what came meanwhile has yet to be read. */
const STALL = { lateMs: 300, restMs: 1000 };

/** A proxy with all that it needs, on the thread that it runs on. */
export class DataPlane {
  readonly proxy: Proxy;
  readonly pool: Pool;
  readonly #wheel: TimingWheel;
  readonly #context: ProxyContext;
  // Connections hold on to these objects: a reload changes what is in them.
  readonly #limits: GatewayConfig['limits'];
  readonly #connection: ServerConnectionOptions;

  constructor(options: DataPlaneOptions) {
    const { config, clock, random, fleet, figures, router, addresses, requests } = options;
    const wheel = (this.#wheel = new TimingWheel({ clock, tickMs: 50, slots: 2048, stall: STALL }));
    const limits = (this.#limits = { ...config.limits });
    this.#connection = { clock, wheel, limits, ...connectionTimes(config) };
    this.pool = new Pool({
      clock,
      wheel,
      connect: options.connect ?? connector({ addresses, lookup: lookup }),
      limits,
      sockets: options.sockets,
      idleMs: UPSTREAM_IDLE_MS,
    });
    const stage = new Stage();
    this.#context = {
      clock,
      wheel,
      fleet,
      figures,
      pool: this.pool,
      sockets: options.sockets,
      stage,
      batch: new WriteBatch(stage),
      router,
      ids: new RequestIds(random),
      strayMeters: options.strayMeters,
      accessLog: options.accessLog,
      allowUnderscores: config.allowUnderscoreHeaders,
      isTrustedProxy: trusts(config),
      onRefused: options.onRefused,
      onRefusing: options.onRefusing,
      onHanging: options.onHanging,
      requests,
      stopping: false,
    };
    this.proxy = new Proxy({
      context: this.#context,
      connection: this.#connection,
      maxConnections: limits.connections,
      reusePort: options.reusePort,
      onAcceptError: options.onAcceptError,
    });
  }

  /** Takes over what a reload may change; connections that are open are held to it too. */
  reconfigure(config: GatewayConfig): void {
    Object.assign(this.#limits, config.limits);
    Object.assign(this.#connection, connectionTimes(config));
    this.#context.allowUnderscores = config.allowUnderscoreHeaders;
    this.#context.isTrustedProxy = trusts(config);
    this.proxy.maxConnections = config.limits.connections;
  }

  /** A timer has come so late. A stall between two deadlines is seen by nobody else. */
  timerLate(lateMs: number): void {
    if (lateMs > STALL.lateMs) this.#wheel.hold(this.#context.clock.now() + STALL.restMs);
  }

  /** Where requests are written from now on. */
  logTo(accessLog: AccessLog | undefined): void {
    this.#context.accessLog = accessLog;
  }

  close(): void {
    this.proxy.close();
    this.#wheel.stop();
  }
}

function connectionTimes({
  limits,
  timeouts,
}: GatewayConfig): Omit<ServerConnectionOptions, 'clock' | 'wheel' | 'limits'> {
  const { requestHeadMs, keepAliveMs, bodyIdleMs, bodyGraceMs } = timeouts;
  return { requestHeadMs, keepAliveMs, bodyIdleMs, bodyGraceMs, bodyMinBytesPerSecond: limits.bodyMinBytesPerSecond };
}

function trusts({ trustedProxies }: GatewayConfig): (address: string) => boolean {
  const trusted = trustedProxies.map(parseCidr).filter((network) => network !== undefined);
  return (address) => {
    const ip = trusted.length === 0 ? undefined : ipOf(address);
    return ip !== undefined && trusted.some((network) => contains(network, ip));
  };
}
