import type { Launch } from '../lab/children.ts';

/** Where a peer listens and what it forwards to. */
export interface Site {
  /** Loopback port for traffic. */
  readonly port: number;
  /** A second free port, for peers that insist on one (an admin API). */
  readonly secondPort: number;
  /** A third one, for the registry of a gateway that brings its own. */
  readonly registryPort: number;
  /** Loopback ports of the instances of the service `bench`. */
  readonly originPorts: readonly number[];
  /** An empty folder of its own, removed after the run. */
  readonly dir: string;
  /** Connections it must be able to hold at once. */
  readonly maxConnections: number;
  /** That do its work. */
  readonly threads: number;
}

/**
 * Something that answers for the origin. Fair means, for all alike: as many threads of work, kept-alive upstream connections,
 * two random choices of which the less busy wins, active checks every 5 s, retries on, no access log, and at least the
 * client's address in X-Forwarded-For.
 */
export interface Peer {
  readonly name: string;
  /** What the result file says was measured; undefined = not installed here. */
  version(): string | undefined;
  /** Writes its configuration into the site's folder; undefined = there is no process (direct). */
  launch(site: Site): Omit<Launch, 'name' | 'role'> | undefined;
}

/** The host name under which every peer serves the service `bench`. */
export const BENCH_HOST = 'bench.localhost';
