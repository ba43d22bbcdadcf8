import type { Config } from '../config/config.ts';
import type { LoadResult } from '../config/load.ts';
import type { Clock } from '../core/clock.ts';
import type { Random } from '../core/random.ts';
import type { LockOwner } from '../registry/embedded/data-lock.ts';
import type { ClusterAddress } from './backends.ts';
import type { SpawnSuccessor } from './channel.ts';
import type { FileLook } from './config-watch.ts';
import type { Predecessor } from './handover.ts';
import type { NamedSocket } from './sockets.ts';

/** What a gateway is started with. */
export interface GatewayOptions {
  readonly config: Config;
  /** Reads the configuration file again. */
  readonly load: () => Promise<LoadResult>;
  /** That file: as messages call it, and where it is. */
  readonly file: string;
  readonly path: string;
  /** As it was before `config` was read from it. */
  readonly seen: FileLook | undefined;
  /** As many data-plane threads there are where `workers` is `auto`. */
  readonly cores: number;
  /** That listened before this process began. */
  readonly sockets: readonly NamedSocket[];
  /** Whose place this process takes. */
  readonly predecessor: Predecessor | undefined;
  readonly spawnSuccessor: SpawnSuccessor;
  /** Everything is in place, but for clients: they are let in when it resolves. */
  readonly onReady: () => Promise<void>;
  readonly clock: Clock;
  readonly random: Random;
  readonly version: string;
  readonly nodeVersion: string;
  readonly owner: LockOwner;
  /** Where a registry of type kubernetes finds the API server of its own cluster. */
  readonly cluster: ClusterAddress;
  /** What script probes run with. */
  readonly script: { readonly path: string; readonly kill: (pid: number, signal: 'SIGKILL') => void };
}
