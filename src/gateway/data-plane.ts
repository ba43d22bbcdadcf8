import { lookup } from 'node:dns';
import type { GatewayConfig } from '../config/config.ts';
import { type AddressPolicy, contains, ipOf, parseCidr } from '../core/address.ts';
import type { Clock } from '../core/clock.ts';
import type { Random } from '../core/random.ts';
import { TimingWheel } from '../core/wheel.ts';
import { Stage } from '../http1/stage.ts';
import { WriteBatch } from '../http1/write-batch.ts';
import type { ProxyContext } from '../proxy/context.ts';
import { Proxy } from '../proxy/proxy.ts';
import { RequestIds } from '../proxy/request-id.ts';
import type { AccessLog } from '../telemetry/access-log.ts';
import type { Logger } from '../telemetry/log.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import { connector } from '../upstream/connect.ts';
import type { Member } from '../upstream/directory.ts';
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
  readonly accessLog: AccessLog | undefined;
  readonly log: Logger;
}

export interface DataPlane {
  readonly proxy: Proxy;
  readonly pool: Pool;
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
  const { limits, timeouts } = config;
  const pool = new Pool({
    clock,
    wheel,
    connect: connector({ addresses, lookup: lookup }),
    limits,
    idleMs: UPSTREAM_IDLE_MS,
  });
  const trusted = config.trustedProxies.map(parseCidr).filter((network) => network !== undefined);
  const stage = new Stage();
  const context: ProxyContext = {
    clock,
    wheel,
    fleet,
    figures: fleet.figures,
    pool,
    stage,
    batch: new WriteBatch(stage),
    router,
    ids: new RequestIds(random),
    limits,
    strayMeters: metrics.noService,
    accessLog,
    allowUnderscores: config.allowUnderscoreHeaders,
    isTrustedProxy: (address) => {
      const ip = trusted.length === 0 ? undefined : ipOf(address);
      return ip !== undefined && trusted.some((network) => contains(network, ip));
    },
    onRefused: (reason) => {
      metrics.badRequest(reason);
    },
    requests: 0,
    maxRequests: limits.requests,
    stopping: false,
    onRefusing: (member, cause) => {
      eject(fleet, clock, member, cause, true);
    },
    onRefusing: (member, cause) => {
      eject(fleet, clock, member, cause);
    },
  };
  const proxy = new Proxy({
    context,
    connection: {
      clock,
      wheel,
      limits,
      requestHeadMs: timeouts.requestHeadMs,
      keepAliveMs: timeouts.keepAliveMs,
      bodyIdleMs: timeouts.bodyIdleMs,
      bodyMinBytesPerSecond: limits.bodyMinBytesPerSecond,
      bodyGraceMs: timeouts.bodyGraceMs,
    },
    maxConnections: limits.connections,
    onAcceptError: (code) => {
      log.error('a connection could not be accepted', { code });
    },
    onHanging: (member, oldestMs) =>
      eject(fleet, clock, member, `a request has waited for ${Math.round(oldestMs)} ms while its peers answer`),
  });
  fleet.listen({
    // Whoever leaves the rotation must not keep requests that could be answered elsewhere.
    transition: (member, gate, _from, to) => {
      const out = (gate === 'probe' && to === 'failing') || (gate === 'breaker' && to === 'open');
      if (out) queueMicrotask(() => proxy.moveOff(member));
    },
    freed: (member) => {
      pool.drop(member.slot);
    },
  });
  return {
    proxy,
    pool,
    close: () => {
      proxy.close();
      wheel.stop();
    },
  };
}

/** Its breaker decides when it may be tried again; without one, time does. */
function eject(fleet: Fleet, clock: Clock, member: Member, cause: string, unreachable = false): boolean {
  const breaker = member.guard();
  if (breaker) return breaker.trip(cause, unreachable);
  if (!fleet.setEjected(member, true, cause)) return false;
  clock.after(EJECTED_FOR_MS, () => {
    if (!member.leaving) fleet.setEjected(member, false, 'its time out of the rotation is over');
  });
  return true;
}
