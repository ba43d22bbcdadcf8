import { type Clock, sleep } from '../../../core/clock.ts';
import type { StatusOf } from '../api/views.ts';
import type { EmbeddedRegistry } from '../registry.ts';
import { type RegistryLog, reasonOf } from '../report.ts';
import type { Entry } from '../table.ts';
import { checksOf } from './views.ts';

export interface CriticalDeps {
  readonly registry: EmbeddedRegistry;
  readonly clock: Clock;
  readonly statusOf: StatusOf | undefined;
  readonly log: RegistryLog;
}

/** As often as Consul looks. */
const SWEEP_MS = 30_000;

/**
 * Consul's DeregisterCriticalServiceAfter: deregisters services whose check has been critical for as long as they asked
 * for. Time is counted in sweeps that found it so: what passes while this process stands still, or is down, does not
 * count. Ends when the registry closes; never rejects.
 */
export async function deregisterCritical({ registry, clock, statusOf, log }: CriticalDeps): Promise<void> {
  let criticalMs: ReadonlyMap<string, number> = new Map();
  while (true) {
    const beforeMs = clock.now();
    await sleep(clock, SWEEP_MS, registry.closing);
    if (registry.closing.aborted) return;
    const elapsedMs = Math.min(clock.now() - beforeMs, 2 * SWEEP_MS);
    const next = new Map<string, number>();
    const overdue: Readonly<Entry>[] = [];
    for (const { entries } of registry.services.values()) {
      for (const entry of entries.values()) {
        if (isOverdue(entry, statusOf, criticalMs, elapsedMs, next)) overdue.push(entry);
      }
    }
    criticalMs = next;
    for (const entry of overdue) await remove(registry, entry, log);
  }
}

function isOverdue(
  entry: Readonly<Entry>,
  ask: StatusOf | undefined,
  before: ReadonlyMap<string, number>,
  elapsedMs: number,
  next: Map<string, number>,
): boolean {
  const { origin } = entry.registration;
  if (origin?.criticalLimitMs === undefined) return false;
  let overdue = false;
  for (const check of checksOf(entry, origin.id, ask)) {
    if (check.Status !== 'critical' || check.criticalLimitMs === undefined) continue;
    const key = `${entry.instance.service}/${entry.instance.id}/${check.CheckID}`;
    const known = before.get(key);
    const nowMs = known === undefined ? 0 : known + elapsedMs;
    next.set(key, nowMs);
    if (nowMs >= check.criticalLimitMs) overdue = true;
  }
  return overdue;
}

async function remove(registry: EmbeddedRegistry, { instance }: Readonly<Entry>, log: RegistryLog): Promise<void> {
  const { service, id } = instance;
  try {
    const result = await registry.deregister(id, service);
    if (result.kind === 'removed')
      log('info', 'deregistered: critical for as long as it had asked for', { service, id });
  } catch (error) {
    log('error', 'a critical service could not be deregistered', { service, id, reason: reasonOf(error) });
  }
}
