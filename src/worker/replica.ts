import type { Balancer } from '../balance/balancer.ts';
import { createBalancer } from '../balance/create.ts';
import type { Permit } from '../breaker/breaker.ts';
import type { BreakerGate } from '../breaker/gate.ts';
import { type Instance, instance } from '../core/instance.ts';
import type { ServicePolicy } from '../core/policy.ts';
import type { Random } from '../core/random.ts';
import { ServicesByHost } from '../routing/services.ts';
import type { HostTable } from '../routing/hosts.ts';
import type { RoutedMember, RoutedService } from '../upstream/directory.ts';
import type { Figures } from '../upstream/figures.ts';
import { emptyView, type View } from '../upstream/view.ts';
import type { Update } from './update.ts';

export interface ReplicaOptions {
  readonly figures: Figures;
  readonly gate: BreakerGate;
  readonly random: Random;
  readonly hosts: HostTable;
  /** Slots whose instances are gone for good. */
  readonly onFreed: (slot: number) => void;
  readonly onDropped: (service: ReplicaService) => void;
}

/** What one data-plane thread knows of the fleet: what it was told last, and nothing that it decides itself. */
export class Replica {
  readonly members: (ReplicaMember | undefined)[] = [];
  readonly services: ServicesByHost<ReplicaService>;
  readonly #options: ReplicaOptions;
  readonly #byIndex: (ReplicaService | undefined)[] = [];
  readonly #policies = new Map<number, ServicePolicy>();

  constructor(options: ReplicaOptions) {
    this.#options = options;
    this.services = new ServicesByHost(options.hosts);
  }

  /** Costs what has changed, whatever there is. */
  apply(update: Update): void {
    for (const slot of update.freed) {
      this.members[slot] = undefined;
      this.#options.onFreed(slot);
    }
    for (const index of update.dropped) this.#drop(index);
    for (const [number, policy] of update.policies) this.#policies.set(number, policy);
    for (const { index, name, row, policy } of update.services) this.#setService(index, name, row, policy);
    for (const number of update.forgotten) this.#policies.delete(number);
    this.#setMembers(update.members);
    for (const [index, view] of update.views) this.#byIndex[index]?.show(view);
  }

  /** Nobody that is in flight is lost by it here: the fleet frees a slot when no thread has an attempt on it. */
  released(): void {
    // The fleet looks itself.
  }

  #drop(index: number): void {
    const service = this.#byIndex[index];
    if (!service) return;
    this.#byIndex[index] = undefined;
    this.services.drop(service);
    this.#options.onDropped(service);
  }

  #setService(index: number, name: string, row: number, number: number): void {
    const policy = this.#policies.get(number);
    if (!policy) throw new Error(`service ${name} has a policy that was never sent`);
    const known = this.#byIndex[index];
    if (known?.name === name) {
      known.setPolicy(policy);
      return;
    }
    const { figures, random } = this.#options;
    const service = new ReplicaService(name, row, policy, figures, random);
    this.#byIndex[index] = service;
    this.services.add(service);
  }

  #setMembers({ slots, services, ids, hosts, ports, secure }: Update['members']): void {
    for (let at = 0; at < slots.length; at++) {
      const slot = slots[at] as number;
      const service = this.#byIndex[services[at] as number];
      // Of a service that has been dropped since: nobody will ask for it.
      if (!service) continue;
      // Slots are given out in ascending order at first: no holes, however large the table.
      while (this.members.length < slot) this.members.push(undefined);
      this.members[slot] = new ReplicaMember(
        slot,
        service,
        this.#options.gate,
        ids[at] as string,
        hosts[at] as string,
        ports[at] as number,
        secure[at] as boolean,
      );
    }
  }
}

/** A service as one thread sees it. */
export class ReplicaService implements RoutedService {
  readonly name: string;
  readonly row: number;
  policy: ServicePolicy;
  view: View;
  readonly #figures: Figures;
  readonly #random: Random;
  /** Made on first use: most of 10,000 services have no traffic at any time. */
  #balancer: Balancer | undefined;
  /** The first of `view.trials` that may not have been taken. */
  #trial = 0;

  constructor(name: string, row: number, policy: ServicePolicy, figures: Figures, random: Random) {
    this.name = name;
    this.row = row;
    this.policy = policy;
    this.view = emptyView(name);
    this.#figures = figures;
    this.#random = random;
  }

  get balancer(): Balancer {
    return (this.#balancer ??= createBalancer(this.policy.balancer, this.#figures, this.#random));
  }

  setPolicy(policy: ServicePolicy): void {
    if (policy.balancer !== this.policy.balancer) this.#balancer = undefined;
    this.policy = policy;
  }

  show(view: View): void {
    this.view = view;
    this.#trial = 0;
  }

  takeTrial(): number {
    const { trials } = this.view;
    while (this.#trial < trials.length) {
      const slot = trials[this.#trial] as number;
      if (this.#figures.breakers.trialReady(slot)) return slot;
      this.#trial++;
    }
    return -1;
  }
}

/** Kept small: there may be 100,000 on every thread. */
class ReplicaMember implements RoutedMember {
  readonly slot: number;
  readonly service: ReplicaService;
  readonly leaving = false;
  readonly #gate: BreakerGate;
  readonly #id: string;
  readonly #host: string;
  readonly #port: number;
  readonly #secure: boolean;
  #instance: Instance | undefined;

  constructor(
    slot: number,
    service: ReplicaService,
    gate: BreakerGate,
    id: string,
    host: string,
    port: number,
    secure: boolean,
  ) {
    this.slot = slot;
    this.service = service;
    this.#gate = gate;
    this.#id = id;
    this.#host = host;
    this.#port = port;
    this.#secure = secure;
  }

  /** Made when it is first connected to. What only the control side reads of an instance is not here. */
  get instance(): Instance {
    return (this.#instance ??= instance({
      id: this.#id,
      service: this.service.name,
      host: this.#host,
      port: this.#port,
      secure: this.#secure,
    }));
  }

  admit(): Permit | undefined {
    return this.#gate.admit(this.slot, this.service.policy.breaker);
  }
}
