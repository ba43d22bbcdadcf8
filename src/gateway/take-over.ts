import type { Config } from '../config/config.ts';
import { type Clock, sleep } from '../core/clock.ts';
import type { Logger } from '../telemetry/log.ts';
import type { Fleet } from '../upstream/fleet.ts';
import { firstProbes } from './first-probes.ts';
import type { Predecessor } from './handover.ts';
import type { Probing } from './probing.ts';
import type { Registries } from './registries.ts';
import type { InheritedSockets } from './sockets.ts';

interface TakeOverParts {
  readonly clock: Clock;
  readonly log: Logger;
  readonly config: Config;
  readonly fleet: Fleet;
  readonly registries: Registries;
  readonly probing: Probing;
}

const REGISTRIES_MS = 30_000;
const FIRST_PROBES_MS = 10_000;

/**
 * Everything that a predecessor need not give up first; then its embedded registries; then whatever must be known before
 * clients are let in. The predecessor serves until this is done. Rejects where this process would know less than it.
 */
export async function takeOver(
  predecessor: Predecessor,
  inherited: InheritedSockets,
  { clock, log, config, fleet, registries, probing }: TakeOverParts,
): Promise<void> {
  const inTime = async (answered: Promise<void>): Promise<void> => {
    const enough = new AbortController();
    const late = sleep(clock, REGISTRIES_MS, enough.signal).then(() => 'late' as const);
    const outcome = await Promise.race([answered, late]).finally(() => enough.abort());
    if (outcome !== 'late') return;
    const silent = registries.statuses().filter(({ ready }) => !ready);
    throw new Error(`no answer and no saved set of ${silent.map(({ name }) => name).join(', ')}`);
  };
  const isEmbedded = ({ type }: Config['registries'][number]): boolean => type === 'embedded';
  await registries.start(config.registries.filter((registry) => !isEmbedded(registry)));
  await inTime(registries.answered());
  await predecessor.release();
  await registries.start(config.registries.filter(isEmbedded), inherited);
  registries.setOrder(config.registries);
  await inTime(registries.ready());
  for (const [service, instance] of predecessor.drained) fleet.drain(service, instance);
  const left = await firstProbes(fleet.members, (member) => probing.evidenceOf(member), clock, FIRST_PROBES_MS);
  if (left > 0) log.warn('instances not probed yet', { instances: left });
}

/**
 * Gives embedded registries up to a successor. What instances say of themselves is said to it from then on. The result
 * takes them back.
 */
export async function handOver(
  registries: Pick<Registries, 'handOver'>,
  probing: Pick<Probing, 'hearing'>,
): Promise<() => Promise<void>> {
  probing.hearing = false;
  const takeBack = await registries.handOver();
  return async () => {
    await takeBack();
    probing.hearing = true;
  };
}

/** Clients are let in. What operators have done at the predecessor in its last moments is done here. */
export async function serveInPlaceOf(predecessor: Predecessor, fleet: Fleet): Promise<void> {
  const { drained, undrained } = await predecessor.serving();
  for (const [service, instance] of drained) fleet.drain(service, instance);
  for (const [service, instance] of undrained) fleet.undrain(service, instance);
}

/** Instances out of rotation at an operator's word. */
export function drainedOf(fleet: Fleet): (readonly [service: string, instance: string])[] {
  return fleet.members.flatMap((member) =>
    member && !member.leaving && member.health.drained ? [[member.service.name, member.instance.id] as const] : [],
  );
}
