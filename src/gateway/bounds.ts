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
}

const LOOK_MS = 1000;
/** Without a refusal for so long, it is over. */
const CALM_MS = 10_000;

/** What bounds the gateway, for the scrape, and in the log when it begins and ends to hold something back. */
export class BoundsWatch {
  readonly #options: BoundsOptions;
  #seen = 0;
  #lastMs: number | undefined;
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
    const { clock, log, sockets } = this.#options;
    const { refused } = sockets;
    const total = refused.limit + refused.descriptors + refused.instances;
    const nowMs = clock.now();
    if (total > this.#seen) {
      if (this.#lastMs === undefined)
        log.warn('connections are refused: a limit is reached', {
          clients: sockets.clients,
          instances: sockets.instances,
          refused,
        });
      this.#lastMs = nowMs;
    } else if (this.#lastMs !== undefined && nowMs - this.#lastMs >= CALM_MS) {
      this.#lastMs = undefined;
      log.info('connections are no longer refused', { refused });
    }
    this.#seen = total;
  }
}
