import type { GatewayConfig } from '../config/config.ts';
import type { Clock } from '../core/clock.ts';
import type { SocketBudget } from '../core/socket-budget.ts';
import type { Logger } from '../telemetry/log.ts';
import type { Bounds } from '../telemetry/metric-sources.ts';

export interface BoundsOptions {
  readonly clock: Clock;
  readonly log: Logger;
  readonly sockets: SocketBudget;
  /** As configured now. Asked for from `start` on. */
  readonly limits: () => GatewayConfig['limits'];
  /** For there being too many, so far. Asked for from `start` on. */
  readonly refusedRequests: () => number;
}

const LOOK_MS = 1000;
/** Without a refusal for so long, it is over. */
const CALM_MS = 10_000;

/** What bounds the gateway, for the scrape, and in the log when it begins and ends to hold something back. */
export class BoundsWatch {
  readonly #options: BoundsOptions;
  readonly #connections = new Spell();
  readonly #requests = new Spell();
  #stop: (() => void) | undefined;

  constructor(options: BoundsOptions) {
    this.#options = options;
  }

  start(): void {
    this.#sayWhatIsPermitted();
    this.#stop = this.#lookLater();
  }

  report(): Bounds {
    const { sockets } = this.#options;
    const limits = this.#options.limits();
    const { refused } = sockets;
    return {
      limits: [
        ['connections', Math.min(limits.connections, sockets.maxClients)],
        ['requests', limits.requests],
        ['instances', limits.instances],
        ['services', limits.services],
        ['open_files', sockets.openFiles],
        ['thread_memory_bytes', limits.threadMemoryBytes],
      ],
      refused: [
        ['downstream', 'limit', refused.limit],
        ['downstream', 'descriptors', refused.descriptors],
        ['upstream', 'descriptors', refused.instances],
      ],
    };
  }

  close(): void {
    this.#stop?.();
  }

  #sayWhatIsPermitted(): void {
    const { sockets, log } = this.#options;
    const { connections } = this.#options.limits();
    if (sockets.maxClients >= connections) return;
    log.info('the limit of open files (LimitNOFILE, ulimit -n) permits fewer clients than gateway.limits.connections', {
      openFiles: sockets.openFiles,
      connections,
      permitted: sockets.maxClients,
    });
  }

  #lookLater(): () => void {
    return this.#options.clock.after(LOOK_MS, () => {
      this.#look();
      this.#stop = this.#lookLater();
    });
  }

  #look(): void {
    const { log, sockets, clock, limits, refusedRequests } = this.#options;
    const { refused } = sockets;
    const nowMs = clock.now();
    const connections = this.#connections.look(refused.limit + refused.descriptors + refused.instances, nowMs);
    if (connections === 'begins')
      log.warn('connections are refused: a limit is reached', {
        clients: sockets.clients,
        instances: sockets.instances,
        refused,
      });
    if (connections === 'ends') log.info('connections are no longer refused', { refused });
    const total = refusedRequests();
    const requests = this.#requests.look(total, nowMs);
    if (requests === 'begins')
      log.warn('requests are refused: gateway.limits.requests is reached', {
        limit: limits().requests,
        refused: total,
      });
    if (requests === 'ends') log.info('requests are no longer refused', { refused: total });
  }
}

/** A time in which a counter keeps rising. */
class Spell {
  #seen = 0;
  #lastMs: number | undefined;

  look(total: number, nowMs: number): 'begins' | 'ends' | undefined {
    const risen = total > this.#seen;
    this.#seen = total;
    if (risen) {
      const begins = this.#lastMs === undefined;
      this.#lastMs = nowMs;
      return begins ? 'begins' : undefined;
    }
    if (this.#lastMs === undefined || nowMs - this.#lastMs < CALM_MS) return undefined;
    this.#lastMs = undefined;
    return 'ends';
  }
}
