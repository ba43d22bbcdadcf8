import type { Breaker } from '../breaker/breaker.ts';
import { BreakerGate, type BreakerReports } from '../breaker/gate.ts';
import type { Clock } from '../core/clock.ts';
import type { BreakerState, ProbeState } from '../core/health.ts';
import type { Instance } from '../core/instance.ts';
import type { ServicePolicy } from '../core/policy.ts';
import type { Random } from '../core/random.ts';
import { sameInstance } from '../registry/same.ts';
import { StandingColumns } from './columns.ts';
import { type Barrier, Departures } from './departures.ts';
import type { Member, ServiceDetail } from './directory.ts';
import { explainMember, type InstanceReport } from './explain.ts';
import { fallbackInstances, isFallback } from './fallback.ts';
import type { Figures } from './figures.ts';
import { type FleetListener, FleetListeners } from './fleet-listener.ts';
import { Gates } from './gates.ts';
import { type FleetBase, MemberRecord } from './member-record.ts';
import { Publisher } from './publisher.ts';
import type { ServiceRecord } from './service-record.ts';
import { ServiceTable } from './service-table.ts';
import { SlotTable } from './slot-table.ts';
import { Weighing } from './weighing.ts';

export interface FleetOptions {
  readonly clock: Clock;
  readonly random: Random;
  /** Its capacity bounds the instances, those that are leaving included. */
  readonly figures: Figures;
  /** The policy of a service that nobody configured. */
  readonly defaultPolicy: ServicePolicy;
  /** Bounds the names that registrations may bring; 20,000 by default. The longest known empty one makes room. */
  readonly maxServices?: number;
  /** Where other threads make attempts too: a slot is not given out again before all of them know that it is free. */
  readonly barrier?: Barrier;
}

const MAX_SERVICES = 20_000;
/** Of trials that this very thread makes. */
const OWN_HOLDER = -1;

/**
 * Long-lived state of every service and instance, and the only place where views are made. A change is taken in at
 * once; the views it concerns are published together at the end of the turn.
 */
export class Fleet implements FleetBase {
  readonly clock: Clock;
  readonly figures: Figures;
  readonly columns: StandingColumns;
  readonly breakers = new Map<MemberRecord, Breaker>();
  /** Where threads that make attempts report to. */
  readonly breakerReports: BreakerReports = {
    failed: (slot, circuit, outcome) => this.#slots.owners[slot]?.guard()?.failed(circuit, outcome),
    trialTaken: (slot, circuit) => this.#slots.owners[slot]?.breaker?.trialTaken(circuit),
    trialEnded: (slot, circuit, outcome) => this.#slots.owners[slot]?.breaker?.trialEnded(circuit, outcome),
  };
  readonly gate: BreakerGate;
  readonly #slots: SlotTable<MemberRecord>;
  readonly #table: ServiceTable;
  readonly #listeners = new FleetListeners();
  readonly #publisher: Publisher;
  readonly #departures: Departures;
  readonly #weighing: Weighing;
  readonly #gates: Gates;

  constructor(options: FleetOptions) {
    this.clock = options.clock;
    this.figures = options.figures;
    this.columns = new StandingColumns(options.figures.capacity);
    this.gate = new BreakerGate(options.figures.breakers, options.clock, OWN_HOLDER, this.breakerReports);
    this.#weighing = new Weighing({
      clock: options.clock,
      figures: options.figures,
      codes: this.columns.codes,
      onChange: (service) => {
        this.#publisher.touch(service);
      },
    });
    this.#slots = new SlotTable(options.figures.capacity);
    this.#table = new ServiceTable({
      fleet: this,
      figures: options.figures,
      codes: this.columns.codes,
      bySlot: this.#slots.owners,
      random: options.random,
      defaultPolicy: options.defaultPolicy,
      maxServices: options.maxServices ?? MAX_SERVICES,
    });
    this.#gates = new Gates({
      clock: options.clock,
      columns: this.columns,
      weighing: this.#weighing,
      listeners: this.#listeners,
      touch: (service) => {
        this.#publisher.touch(service);
      },
    });
    this.#publisher = new Publisher(options.clock, (service, nowMs) => this.#publish(service, nowMs));
    this.#departures = new Departures(options.clock, options.figures, options.barrier, (member) => this.#free(member));
  }

  /** By slot. The same array for as long as the fleet lives. */
  get members(): readonly (Member | undefined)[] {
    return this.#slots.owners;
  }

  get services(): ReadonlyMap<string, ServiceDetail> {
    return this.#table.byName;
  }

  service(name: string): ServiceDetail | undefined {
    return this.#table.byName.get(name);
  }

  memberBySlot(slot: number): Member | undefined {
    return this.#slots.owners[slot];
  }

  find(service: string, id: string): Member | undefined {
    return this.#table.byName.get(service)?.members.get(id);
  }

  listen(listener: FleetListener): () => void {
    return this.#listeners.add(listener);
  }

  /** Names a service and sets its policy. A second call changes the policy and keeps all state. */
  configure(name: string, policy: ServicePolicy): ServiceDetail {
    const service = this.#table.byName.get(name) ?? this.#create(name);
    service.configured = true;
    this.#setPolicy(service, policy);
    return service;
  }

  /** Back to the default policy; a service that has no instances either is forgotten. */
  unconfigure(name: string): void {
    const service = this.#table.byName.get(name);
    if (!service?.configured) return;
    service.configured = false;
    this.#setPolicy(service, this.#table.defaultPolicy);
    if (service.members.size === 0) this.dropService(name);
  }

  /** For all services that nobody configured, now and later. */
  setDefaultPolicy(policy: ServicePolicy): void {
    this.#table.defaultPolicy = policy;
    for (const service of this.#table.byName.values()) if (!service.configured) this.#setPolicy(service, policy);
  }

  /**
   * Adds an instance, or changes it. With a changed address it is another one: the old one leaves, the new one starts
   * as unknown. Undefined where it was refused.
   */
  upsert(instance: Instance): Member | undefined {
    if (!isFallback(instance)) return this.#place(instance);
    this.#listeners.tell((listener) => listener.refused?.(instance));
    return undefined;
  }

  #place(instance: Instance): Member | undefined {
    const wallMs = this.clock.wall();
    let member = this.#upsert(instance, wallMs);
    if (!member) {
      // Those who have just left may make room once no view lists them.
      this.flush();
      member = this.#upsert(instance, wallMs);
    }
    if (!member) this.#listeners.tell((listener) => listener.refused?.(instance));
    return member;
  }

  /** A registry knows the service, be it without an instance: requests for it get 503 and not 404. */
  know(name: string): void {
    if (!this.#table.byName.has(name)) this.#discover(name);
  }

  /** False where there is no such instance. */
  remove(service: string, id: string): boolean {
    const member = this.#table.byName.get(service)?.members.get(id);
    if (!member || isFallback(member.instance)) return false;
    this.#remove(member);
    return true;
  }

  /** Removes its instances and forgets it: a later request for it is one for an unknown service. */
  dropService(name: string): void {
    const service = this.#table.byName.get(name);
    if (!service) return;
    for (const member of service.members.values()) this.#remove(member);
    this.#table.drop(service);
    this.#publisher.touch(service);
    this.#listeners.tell((listener) => listener.serviceDropped?.(service));
  }

  /** `cause` is for people: "3 probes in a row failed: connect ECONNREFUSED". */
  setProbe(member: Member, state: ProbeState, cause: string): void {
    const record = this.#present(member);
    if (record) this.#gates.probed(record, state, cause);
  }

  /**
   * Takes a member out, as hanging or as an outlier, or lets it in again. False where the ejection cap forbids it.
   * `forMs` is told by `explain`; to let it in again is up to the caller.
   */
  setEjected(member: Member, ejected: boolean, cause: string, forMs?: number): boolean {
    const record = this.#present(member);
    return record !== undefined && this.#gates.eject(record, ejected, cause, forMs);
  }

  /** Takes an instance out of rotation; what is in flight ends in peace. False where there is no such instance. */
  drain(service: string, id: string): boolean {
    return this.#setDrained(service, id, true);
  }

  undrain(service: string, id: string): boolean {
    return this.#setDrained(service, id, false);
  }

  /** Why a member has traffic or not, gate by gate. */
  explain(member: Member): InstanceReport | undefined {
    const record = this.#slots.owners[member.slot];
    return record === member
      ? explainMember(record, record.service, {
          columns: this.columns,
          figures: this.figures,
          weight: this.#weighing.factorsOf(record),
          ejectedUntilMs: this.#gates.ejectedUntilMs(record),
          nowMs: this.clock.now(),
        })
      : undefined;
  }

  /** Publishes every pending view now; otherwise that happens at the end of the turn. */
  flush(): void {
    this.#publisher.flush();
  }

  /** To be called whenever an attempt on a leaving member has ended: frees it where that was the last. */
  released(member: Member): void {
    const record = this.#slots.owners[member.slot];
    if (record === member) this.#departures.released(record);
  }

  /** Stops every timer. The fleet is of no use afterwards. */
  close(): void {
    this.#publisher.close();
    this.#departures.close();
    this.#weighing.close();
    for (const breaker of this.breakers.values()) breaker.close();
    this.breakers.clear();
  }

  breakerChanged(member: MemberRecord, from: BreakerState, to: BreakerState, cause: string): void {
    this.#gates.breakerChanged(member, from, to, cause);
  }

  /** Whoever held these trials is no more. Looks at every breaker. */
  trialsLost(holder: number): void {
    for (const [{ slot }, breaker] of this.breakers) {
      if (this.figures.breakers.trialHolder(slot) === holder) breaker.trialLost();
    }
  }

  /** The next view offers the trial again. */
  trialReturned(member: MemberRecord): void {
    this.#publisher.touch(member.service);
  }

  /** Undefined where there is no room. */
  #upsert(instance: Instance, wallMs: number): MemberRecord | undefined {
    const service = this.#table.byName.get(instance.service) ?? this.#discover(instance.service);
    const member = service?.members.get(instance.id);
    if (member && sameAddress(member.instance, instance)) {
      if (!sameInstance(member.instance, instance)) this.#update(member, instance);
      return member;
    }
    if (member) this.#remove(member);
    if (!service || this.#slots.full) return undefined;
    return this.#add(service, instance, wallMs);
  }

  /** A service that a registration names; undefined where there are too many. */
  #discover(name: string): ServiceRecord | undefined {
    if (this.#table.full) {
      const dispensable = this.#table.dispensable();
      if (!dispensable) return undefined;
      this.dropService(dispensable.name);
    }
    return this.#create(name);
  }

  #create(name: string): ServiceRecord {
    const service = this.#table.create(name);
    this.#listeners.tell((listener) => listener.serviceAdded?.(service));
    return service;
  }

  #setPolicy(service: ServiceRecord, policy: ServicePolicy): void {
    const { breaker, availability, fallback } = service.policy;
    const degraded = service.counts.degraded;
    service.setPolicy(policy);
    if (policy.availability.mode !== availability.mode) service.countAnew();
    if (fallback.length + policy.fallback.length > 0) this.#setFallback(service);
    if (breaker.enabled && !policy.breaker.enabled) {
      for (const member of service.members.values()) this.#switchBreakerOff(member);
    }
    // Only those who are or were degraded may weigh something else.
    if (degraded + service.counts.degraded > 0) {
      for (const member of service.members.values()) this.#weighing.weigh(member);
    }
    this.#listeners.tell((listener) => listener.policyChanged?.(service));
    this.#publisher.touch(service);
  }

  #setFallback(service: ServiceRecord): void {
    const wanted = new Map(fallbackInstances(service.name, service.policy).map((each) => [each.id, each]));
    for (const member of service.members.values()) {
      const { instance } = member;
      if (isFallback(instance) && !wanted.delete(instance.id)) this.#remove(member);
    }
    for (const instance of wanted.values()) this.#place(instance);
  }

  #switchBreakerOff(member: MemberRecord): void {
    const from = member.health.breaker;
    member.closeBreaker();
    if (from !== 'closed') this.breakerChanged(member, from, 'closed', 'breakers are switched off');
  }

  #add(service: ServiceRecord, instance: Instance, wallMs: number): MemberRecord {
    const member = this.#slots.take((slot) => new MemberRecord(slot, service, instance));
    this.figures.clear(member.slot);
    this.#gates.added(member, wallMs);
    service.add(member);
    this.#weighing.added(member);
    this.#publisher.touch(service);
    this.#listeners.tell((listener) => listener.added?.(member));
    return member;
  }

  #update(member: MemberRecord, instance: Instance): void {
    const previous = member.instance;
    member.instance = instance;
    if (previous.weight !== instance.weight) {
      member.service.addWeight(previous.weight, -1);
      member.service.addWeight(instance.weight, 1);
      this.#weighing.weigh(member);
      this.#publisher.touch(member.service);
    }
    if (previous.state !== instance.state) this.#gates.registered(member, previous);
    this.#listeners.tell((listener) => listener.updated?.(member, previous));
  }

  #remove(member: MemberRecord): void {
    member.service.remove(member);
    this.#weighing.removed(member);
    member.leave();
    this.#gates.removed(member);
    this.#publisher.touch(member.service);
    this.#listeners.tell((listener) => listener.removed?.(member));
  }

  #free(member: MemberRecord): void {
    const { service } = member;
    this.#slots.give(member.slot);
    this.#table.retire(service);
    this.#listeners.tell((listener) => listener.freed?.(member));
  }

  #setDrained(service: string, id: string, drained: boolean): boolean {
    const member = this.#table.byName.get(service)?.members.get(id);
    if (member) this.#gates.drain(member, drained);
    return member !== undefined;
  }

  #present(member: Member): MemberRecord | undefined {
    const record = this.#slots.owners[member.slot];
    return record === member && !record.leaving ? record : undefined;
  }

  #publish(service: ServiceRecord, nowMs: number): void {
    const { view: previous, panic } = service;
    service.publish(nowMs);
    const departed = service.departing;
    service.departing = [];
    this.#listeners.tell((listener) => listener.viewChanged?.(service, previous));
    for (const member of departed) this.#departures.depart(member);
    this.#table.retire(service);
    if ((panic === 'off') !== (service.panic === 'off')) {
      this.#listeners.tell((listener) => listener.panic?.(service, service.panic !== 'off'));
    }
    if (service.view.fallback !== previous.fallback) {
      this.#listeners.tell((listener) => listener.fallback?.(service, service.view.fallback));
    }
  }
}

function sameAddress(one: Instance, other: Instance): boolean {
  return one.host === other.host && one.port === other.port && one.secure === other.secure;
}
