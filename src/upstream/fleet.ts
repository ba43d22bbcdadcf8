import type { Clock } from '../core/clock.ts';
import type { ProbeState } from '../core/health.ts';
import type { Instance } from '../core/instance.ts';
import type { ServicePolicy } from '../core/policy.ts';
import type { Random } from '../core/random.ts';
import type { Gate } from './availability.ts';
import type { Member, ServiceState } from './directory.ts';
import type { Figures } from './figures.ts';
import type { View } from './view.ts';

export interface FleetOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly figures: Figures;
  /** The policy of a service that nobody configured. */
  readonly defaultPolicy: ServicePolicy;
}

/** Every call is made in the turn of the change, except `viewChanged` and `panic`, which come with the new view. */
export interface FleetListener {
  added?(member: Member): void;
  /** Anything but the address has changed. */
  updated?(member: Member, previous: Instance): void;
  /** It left the rotation; requests may still be in flight. */
  removed?(member: Member): void;
  /** The last request of a removed member has ended: its slot, and what is kept by it, is free. */
  freed?(member: Member): void;
  viewChanged?(service: ServiceState, previous: View): void;
  panic?(service: ServiceState, on: boolean): void;
  transition?(member: Member, gate: Gate, from: string, to: string, cause: string): void;
  /** No slot is left for it. */
  refused?(instance: Instance): void;
}

/** Long-lived state of every service and instance, and the only place where views are made. */
export interface Fleet {
  /** By slot. */
  readonly members: readonly (Member | undefined)[];
  readonly services: ReadonlyMap<string, ServiceState>;
  service(name: string): ServiceState | undefined;
  memberBySlot(slot: number): Member | undefined;
  find(service: string, id: string): Member | undefined;
  /** Names a service and sets its policy; a second call changes the policy and keeps all state. */
  configure(name: string, policy: ServicePolicy): ServiceState;
  /** Forgets the configuration: the service falls back to the default policy, and goes once nothing is registered. */
  unconfigure(name: string): void;
  upsert(instance: Instance): Member | undefined;
  remove(service: string, id: string): boolean;
  /** Makes the instances of the service exactly these. */
  reset(service: string, instances: readonly Instance[]): void;
  /** Removes its instances and forgets the service. */
  dropService(name: string): void;
  setProbe(member: Member, state: ProbeState, cause?: string): void;
  /** Takes a member out, or lets it in again. False where the ejection cap forbids it. */
  setEjected(member: Member, ejected: boolean, cause: string): boolean;
  drain(service: string, id: string): boolean;
  undrain(service: string, id: string): boolean;
  /** Whether the ejection cap leaves room for one more. */
  mayEject(service: ServiceState): boolean;
  inflightOf(service: ServiceState): number;
  listen(listener: FleetListener): () => void;
  /** Publishes every pending view now; otherwise they are published at the end of the turn. */
  flush(): void;
  /** Looks at a removed member again after an attempt of it has ended: frees it where that was the last. */
  released(member: Member): void;
  close(): void;
}

export type CreateFleet = (options: FleetOptions) => Fleet;
