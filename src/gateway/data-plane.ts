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
import type { ProxyContext } from '../proxy/context.ts';
import { Proxy } from '../proxy/proxy.ts';
import { RequestIds } from '../proxy/request-id.ts';
import type { AccessLog } from '../telemetry/access-log.ts';
import type { Logger } from '../telemetry/log.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import { type Connect, connector } from '../upstream/connect.ts';
import type { Fleet } from '../upstream/fleet.ts';
import { Pool } from '../upstream/pool.ts';
import type { FleetRouter } from './router.ts';

export interface DataPlaneOptions {
  readonly config: GatewayConfig;
  readonly clock: Clock;
  readonly random: Random;
  readonly fleet: Fleet;
  readonly router: FleetRouter;
  readonly metrics: Metrics;
  readonly addresses: AddressPolicy;
  /** In place of sockets: for simulations. */
  readonly connect?: Connect;
  readonly accessLog: AccessLog | undefined;
  readonly log: Logger;
  readonly sockets?: SocketBudget | undefined;
}

export interface DataPlane {
  readonly proxy: Proxy;
  readonly pool: Pool;
  /** Takes over what a reload may change; connections that are open are held to it too. */
  reconfigure(config: GatewayConfig): void;
  /** Where requests are written from now on. */
  logTo(accessLog: AccessLog | undefined): void;
  close(): void;
}

/** Below Node's keep-alive of 5 s, the shortest in common use: we close first. */
const UPSTREAM_IDLE_MS = 4000;
/** An ejection without a breaker to end it. */
const EJECTED_FOR_MS = 5000;

/** The data plane of the one thread there is. */
export function createDataPlane(options: DataPlaneOptions): DataPlane {
  const { config, clock, random, fleet, router, metrics, addresses, accessLog, log } = options;
  const wheel = new TimingWheel({ clock, tickMs: 50, slots: 2048 });
  // Connections hold on to these objects: a reload changes what is in them.
  const limits = { ...config.limits };
  const connection = { clock, wheel, limits, ...connectionTimes(config) };
  const pool = new Pool({
    clock,
    wheel,
    connect: options.connect ?? connector({ addresses, lookup: lookup }),
    limits,
    idleMs: UPSTREAM_IDLE_MS,
    sockets: options.sockets,
  });
  const stage = new Stage();
  const context: ProxyContext = {
    clock,
    wheel,
    fleet,
    figures: fleet.figures,
    pool,
    sockets: options.sockets,
    stage,
    batch: new WriteBatch(stage),
    router,
    ids: new RequestIds(random),
    limits,
    strayMeters: metrics.noService,
    accessLog,
    allowUnderscores: config.allowUnderscoreHeaders,
    isTrustedProxy: trusts(config),
    onRefused: (reason) => {
      metrics.badRequest(reason);
    },
    onRefusing: (member, cause) => {
      eject(fleet, clock, member.slot, cause, true);
    },
    requests: 0,
    maxRequests: limits.requests,
    stopping: false,
  };
  const proxy = new Proxy({
    context,
    connection,
    maxConnections: limits.connections,
    onAcceptError: (code) => {
      log.error('a connection could not be accepted', { code });
    },
    onHanging: (member, cause) => eject(fleet, clock, member.slot, cause),
  });
  fleet.listen({
    // Whoever leaves the rotation must not keep requests that could be answered elsewhere.
    transition: (member, gate, _from, to) => {
      const probed = member.service.policy.availability.mode !== 'trust-registry';
      const out = (gate === 'probe' && to === 'failing' && probed) || (gate === 'breaker' && to === 'open');
      if (out) queueMicrotask(() => proxy.moveOff(member));
    },
    freed: (member) => {
      pool.drop(member.slot);
    },
  });
  return {
    proxy,
    pool,
    reconfigure: (next) => {
      Object.assign(limits, next.limits);
      Object.assign(connection, connectionTimes(next));
      context.maxRequests = next.limits.requests;
      context.allowUnderscores = next.allowUnderscoreHeaders;
      context.isTrustedProxy = trusts(next);
      proxy.maxConnections = next.limits.connections;
    },
    logTo: (next) => {
      context.accessLog = next;
    },
    close: () => {
      proxy.close();
      wheel.stop();
    },
  };
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

/** Its breaker decides when it may be tried again; without one, time does. */
function eject(fleet: Fleet, clock: Clock, slot: number, cause: string, unreachable = false): boolean {
  const member = fleet.memberBySlot(slot);
  if (!member) return false;
  const breaker = member.guard();
  if (breaker) return breaker.trip(cause, unreachable);
  if (!fleet.setEjected(member, true, cause)) return false;
  clock.after(EJECTED_FOR_MS, () => {
    if (!member.leaving) fleet.setEjected(member, false, 'its time out of the rotation is over');
  });
  return true;
}
