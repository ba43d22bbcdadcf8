import type { Config } from '../config/config.ts';
import { whyNoSharedPort } from '../http1/shared-port.ts';

/** How many data-plane threads there will be, and how they listen. */
export interface WorkerPlan {
  readonly count: number;
  /** What `workers` asks for. */
  readonly wanted: number;
  /** Each thread has a socket of its own at the same address. */
  readonly reusePort: boolean;
  /** Why there are fewer than wanted, for people. */
  readonly shortage: string | undefined;
}

/** `whyNot`: see `whyNoSharedPort`. */
export async function planWorkers(
  { workers, gateway }: Pick<Config, 'workers' | 'gateway'>,
  cores: number,
  whyNot: (host: string) => Promise<string | undefined> = whyNoSharedPort,
): Promise<WorkerPlan> {
  const wanted = workers === 'auto' ? cores : workers;
  for (const host of new Set(gateway.listen.map(({ host }) => host))) {
    const reason = await whyNot(host);
    if (reason === undefined) continue;
    const shortage = `sockets cannot share a port at ${host} on this platform (${reason}): one data-plane thread serves, not the ${wanted} that workers asks for`;
    return { count: 1, wanted, reusePort: false, shortage: wanted > 1 ? shortage : undefined };
  }
  return { count: wanted, wanted, reusePort: true, shortage: undefined };
}
