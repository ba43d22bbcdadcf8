import type { FleetSource, InstanceSource } from '../telemetry/fleet-source.ts';
import type { Member, ServiceDetail } from '../upstream/directory.ts';
import type { Fleet } from '../upstream/fleet.ts';

/** The fleet as the scrape reads it. */
export function fleetSource(fleet: Fleet): FleetSource {
  return {
    figures: fleet.figures,
    *services() {
      for (const service of fleet.services.values()) {
        const { panic, fallback } = service.view;
        yield { name: service.name, panic, fallback, instances: () => instancesOf(service) };
      }
    },
  };
}

function* instancesOf(service: ServiceDetail): Generator<InstanceSource> {
  for (const member of service.members.values()) yield sourceOf(member);
  for (const member of service.leaving) if (!service.members.has(member.instance.id)) yield sourceOf(member);
}

function sourceOf({ instance, health, slot }: Member): InstanceSource {
  return { id: instance.id, health, slot };
}
