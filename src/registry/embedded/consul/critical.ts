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

/** A check that is critical, and for how long by now. */
interface Spell {
  readonly index: number;
  readonly lastedMs: number;
}

/** As often as Consul looks. */
const SWEEP_MS = 30_000;

/**
 * Consul's DeregisterCriticalServiceAfter: deregisters services whose check has been critical for as long as they asked
 * for. Time is counted in sweeps that found it so: what passes while this process stands still, or is down, does not
 * count. Ends when the registry closes; never rejects.
 */
export async function deregisterCritical({ registry, clock, statusOf, log }: CriticalDeps): Promise<void> {
  let spells: ReadonlyMap<string, Spell> = new Map();
  while (true) {
    const beforeMs = clock.now();
    await sleep(clock, SWEEP_MS, registry.closing);
    if (registry.closing.aborted) return;
    const elapsedMs = Math.min(clock.now() - beforeMs, 2 * SWEEP_MS);
    const next = new Map<string, Spell>();
    const overdue: Readonly<Entry>[] = [];
    for (const { entries } of registry.services.values()) {
      for (const entry of entries.values()) {
        if (isOverdue(entry, statusOf, spells, elapsedMs, next)) overdue.push(entry);
      }
    }
    spells = next;
    for (const entry of overdue) await remove(registry, entry, log);
  }
}

function isOverdue(
  entry: Readonly<Entry>,
  ask: StatusOf | undefined,
  before: ReadonlyMap<string, Spell>,
  elapsedMs: number,
  next: Map<string, Spell>,
): boolean {
  const { origin } = entry.registration;
  if (origin?.criticalLimitMs === undefined) return false;
  let overdue = false;
  for (const check of checksOf(entry, origin.id, ask)) {
    if (check.Status !== 'critical' || check.criticalLimitMs === undefined) continue;
    const key = `${entry.instance.service}/${entry.instance.id}/${check.CheckID}`;
    const known = before.get(key);
    // It may have been well in between: then its index is another.
    const lastedMs = known?.index === entry.index ? known.lastedMs + elapsedMs : 0;
    next.set(key, { index: entry.index, lastedMs });
    if (lastedMs >= check.criticalLimitMs) overdue = true;
  }
  return overdue;
}

async function remove(registry: EmbeddedRegistry, { instance }: Readonly<Entry>, log: RegistryLog): Promise<void> {
  const { service, id } = instance;
  try {
    const result = await registry.deregister(id, service, 'expired');
    if (result.kind === 'removed')
      log('info', 'deregistered: critical for as long as it had asked for', { service, id });
  } catch (error) {
    log('error', 'a critical service could not be deregistered', { service, id, reason: reasonOf(error) });
  }
}
