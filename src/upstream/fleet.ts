import type { Clock } from '../core/clock.ts';
import type { BreakerState, ProbeState } from '../core/health.ts';
import type { Instance } from '../core/instance.ts';
import type { ServicePolicy } from '../core/policy.ts';
import type { Random } from '../core/random.ts';
import { sameInstance } from '../registry/same.ts';
import { type Gate, pack, sameToViews, type Standing, unpack } from './availability.ts';
import { StandingColumns } from './columns.ts';
import { Departures } from './departures.ts';
import type { Member, ServiceDetail } from './directory.ts';
import type { Figures } from './figures.ts';
import { type FleetBase, MemberRecord } from './member-record.ts';
import { Publisher } from './publisher.ts';
import type { ServiceRecord } from './service-record.ts';
import { ServiceTable } from './service-table.ts';
import { SlotTable } from './slot-table.ts';
import type { View } from './view.ts';

export interface FleetOptions {
  readonly clock: Clock;
  readonly random: Random;
  /** Its capacity bounds the instances, those that are leaving included. */
  readonly figures: Figures;
  /** The policy of a service that nobody configured. */
  readonly defaultPolicy: ServicePolicy;
  /** Bounds the names that registrations may bring; 20,000 by default. The longest known empty one makes room. */
  readonly maxServices?: number;
}

/** Each is called in the turn of the change, `viewChanged` and `panic` with the new view. None may throw. */
export interface FleetListener {
  added?(member: Member): void;
  /** It is configured, or an instance of it registered, for the first time. */
  serviceAdded?(service: ServiceDetail): void;
  /** Its name is unknown from now on; members of it may still be leaving. */
  serviceDropped?(service: ServiceDetail): void;
  /** Anything but the address has changed. */
  updated?(member: Member, previous: Instance): void;
  /** It is out of the table; requests may still be in flight. */
  removed?(member: Member): void;
  /** The last request of a removed member has ended: its slot, and all that is kept by it, is free. */
  freed?(member: Member): void;
  viewChanged?(service: ServiceDetail, previous: View): void;
  panic?(service: ServiceDetail, on: boolean): void;
  /** `to` are the words of `explain`. */
  transition?(member: Member, gate: Gate, from: string, to: string, cause: string): void;
  /** There is no slot for it, or no room for its service. */
  refused?(instance: Instance): void;
}

const MAX_SERVICES = 20_000;

/**
 * Long-lived state of every service and instance, and the only place where views are made. A change is taken in at
 * once; the views it concerns are published together at the end of the turn.
 */
export class Fleet implements FleetBase {
  readonly clock: Clock;
  readonly figures: Figures;
  readonly columns: StandingColumns;
  readonly #slots: SlotTable<MemberRecord>;
  readonly #table: ServiceTable;
  readonly #listeners = new Set<FleetListener>();
  readonly #publisher: Publisher;
  readonly #departures: Departures;

  constructor(options: FleetOptions) {
    this.clock = options.clock;
    this.figures = options.figures;
    this.columns = new StandingColumns(options.figures.capacity);
    this.#slots = new SlotTable(options.figures.capacity);
    this.#table = new ServiceTable({
      figures: options.figures,
      codes: this.columns.codes,
      bySlot: this.#slots.owners,
      random: options.random,
      defaultPolicy: options.defaultPolicy,
      maxServices: options.maxServices ?? MAX_SERVICES,
    });
    this.#publisher = new Publisher(options.clock, (service, nowMs) => this.#publish(service, nowMs));
    this.#departures = new Departures(options.clock, options.figures, (member) => this.#free(member));
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
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
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
    const service = this.#table.byName.get(instance.service) ?? this.#discover(instance.service);
    const member = service?.members.get(instance.id);
    if (member && sameAddress(member.instance, instance)) {
      if (!sameInstance(member.instance, instance)) this.#update(member, instance);
      return member;
    }
    if (member) this.#remove(member);
    if (!service || this.#slots.full) {
      this.#tell((listener) => listener.refused?.(instance));
      return undefined;
    }
    return this.#add(service, instance);
  }

  /** False where there is no such instance. */
  remove(service: string, id: string): boolean {
    const member = this.#table.byName.get(service)?.members.get(id);
    if (member) this.#remove(member);
    return member !== undefined;
  }

  /** Makes the instances of the service (all of them of this service) exactly these; those that were there already keep their state. */
  reset(name: string, instances: readonly Instance[]): void {
    const members = this.#table.byName.get(name)?.members;
    if (members && members.size > 0) {
      const kept = new Set<string>();
      for (const { id } of instances) kept.add(id);
      // Before anyone is added: those who go may make room.
      for (const member of members.values()) if (!kept.has(member.instance.id)) this.#remove(member);
    }
    for (const instance of instances) this.upsert(instance);
  }

  /** Removes its instances and forgets it: a later request for it is one for an unknown service. */
  dropService(name: string): void {
    const service = this.#table.byName.get(name);
    if (!service) return;
    for (const member of service.members.values()) this.#remove(member);
    this.#table.drop(service);
    this.#publisher.touch(service);
    this.#tell((listener) => listener.serviceDropped?.(service));
  }

  /** `cause` is for people: "3 probes in a row failed: connect ECONNREFUSED". */
  setProbe(member: Member, state: ProbeState, cause: string): void {
    const record = this.#present(member);
    if (!record) return;
    const from = record.health.probe;
    const passes = state === 'passing' || state === 'degraded';
    if (!this.#stand(record, passes ? { probe: state, passedOnce: true } : { probe: state }, 'probe')) return;
    this.#tell((listener) => listener.transition?.(record, 'probe', from, state, cause));
  }

  /** Takes a member out, as hanging or as an outlier, or lets it in again. False where the ejection cap forbids it. */
  setEjected(member: Member, ejected: boolean, cause: string): boolean {
    const record = this.#present(member);
    if (!record) return false;
    const { ejected: before, breaker } = record.health;
    if (before === ejected) return true;
    // Who is out by breaker is counted already.
    if (ejected && breaker === 'closed' && !record.service.claimEjection()) return false;
    this.#stand(record, { ejected }, 'ejection');
    this.#tellTransition(record, 'ejection', 'ejected', ejected, cause);
    return true;
  }

  /** Takes an instance out of rotation; what is in flight ends in peace. False where there is no such instance. */
  drain(service: string, id: string): boolean {
    return this.#setDrained(service, id, true);
  }

  undrain(service: string, id: string): boolean {
    return this.#setDrained(service, id, false);
  }

  /** Requests in flight, those of leaving instances included. Looks at every member. */
  inflightOf(service: ServiceDetail): number {
    let inflight = 0;
    for (const { slot } of service.members.values()) inflight += this.figures.inflight[slot] ?? 0;
    for (const { slot } of service.leaving) inflight += this.figures.inflight[slot] ?? 0;
    return inflight;
  }

  /** Publishes every pending view now; otherwise that happens at the end of the turn. */
  flush(): void {
    this.#publisher.flush();
  }

  /** To be called whenever an attempt on a leaving member has ended: frees it where that was the last. */
  released(member: Member): void {
    const record = this.#slots.owners[member.slot];
    if (record === member) this.#departures.consider(record);
  }

  /** Stops every timer. The fleet is of no use afterwards. */
  close(): void {
    this.#publisher.close();
    this.#departures.close();
    for (const member of this.#slots.owners) member?.closeBreaker();
  }

  breakerChanged(member: MemberRecord, from: BreakerState, to: BreakerState, cause: string): void {
    this.#stand(member, { breaker: to }, 'breaker');
    this.#tell((listener) => listener.transition?.(member, 'breaker', from, to, cause));
  }

  /** The next view offers the trial again. */
  trialReturned(member: MemberRecord): void {
    this.#publisher.touch(member.service);
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
    this.#tell((listener) => listener.serviceAdded?.(service));
    return service;
  }

  #setPolicy(service: ServiceRecord, policy: ServicePolicy): void {
    const guarded = service.policy.breaker.enabled;
    this.#table.setPolicy(service, policy);
    if (guarded && !policy.breaker.enabled) {
      for (const member of service.members.values()) this.#switchBreakerOff(member);
    }
    this.#publisher.touch(service);
  }

  #switchBreakerOff(member: MemberRecord): void {
    const from = member.health.breaker;
    member.closeBreaker();
    if (from !== 'closed') this.breakerChanged(member, from, 'closed', 'breakers are switched off');
  }

  #add(service: ServiceRecord, instance: Instance): Member {
    const member = this.#slots.take((slot) => new MemberRecord(slot, service, instance, this));
    this.figures.clear(member.slot);
    this.figures.weight[member.slot] = instance.weight;
    const standing: Standing = { ...NEW, registered: instance.state };
    this.columns.begin(member.slot, pack(standing), this.clock.wall());
    service.add(member);
    this.#publisher.touch(service);
    this.#tell((listener) => listener.added?.(member));
    return member;
  }

  #update(member: MemberRecord, instance: Instance): void {
    const previous = member.instance;
    member.instance = instance;
    if (previous.weight !== instance.weight) {
      this.figures.weight[member.slot] = instance.weight;
      member.service.addWeight(previous.weight, -1);
      member.service.addWeight(instance.weight, 1);
      this.#publisher.touch(member.service);
    }
    if (previous.state !== instance.state) {
      this.#stand(member, { registered: instance.state }, 'registered');
      const cause = instance.stateReason ?? 'the registry says so';
      this.#tell((listener) => listener.transition?.(member, 'registered', previous.state, instance.state, cause));
    }
    this.#tell((listener) => listener.updated?.(member, previous));
  }

  #remove(member: MemberRecord): void {
    member.service.remove(member);
    member.leaving = true;
    member.closeBreaker();
    this.#stand(member, { breaker: 'closed' }, 'breaker');
    this.#departures.add(member);
    this.#publisher.touch(member.service);
    this.#tell((listener) => listener.removed?.(member));
  }

  #free(member: MemberRecord): void {
    const { service } = member;
    service.forget(member);
    this.#slots.give(member.slot);
    this.#table.retire(service);
    this.#tell((listener) => listener.freed?.(member));
  }

  #setDrained(service: string, id: string, drained: boolean): boolean {
    const member = this.#table.byName.get(service)?.members.get(id);
    if (!member) return false;
    if (this.#stand(member, { drained }, 'drain')) {
      this.#tellTransition(member, 'drain', 'drained', drained, 'operator');
    }
    return true;
  }

  #present(member: Member): MemberRecord | undefined {
    const record = this.#slots.owners[member.slot];
    return record === member && !record.leaving ? record : undefined;
  }

  /** Takes in a change of one gate; false where it is none. */
  #stand(member: MemberRecord, part: Partial<Standing>, gate: Gate): boolean {
    const from = this.columns.codes[member.slot] as number;
    const to = pack({ ...unpack(from), ...part });
    if (from === to) return false;
    this.columns.change(member.slot, to, gate, this.clock.wall());
    if (member.leaving) return true;
    member.service.recount(from, to);
    if (!sameToViews(from, to)) this.#publisher.touch(member.service);
    return true;
  }

  #publish(service: ServiceRecord, nowMs: number): void {
    const { view: previous, panic } = service;
    service.publish(nowMs);
    for (const member of service.leaving) {
      member.unlisted = true;
      this.#departures.consider(member);
    }
    this.#table.retire(service);
    this.#tell((listener) => listener.viewChanged?.(service, previous));
    if ((panic === 'off') !== (service.panic === 'off')) {
      this.#tell((listener) => listener.panic?.(service, service.panic !== 'off'));
    }
  }

  #tellTransition(member: MemberRecord, gate: Gate, word: string, on: boolean, cause: string): void {
    const [from, to] = on ? ['in rotation', word] : [word, 'in rotation'];
    this.#tell((listener) => listener.transition?.(member, gate, from, to, cause));
  }

  #tell(call: (listener: FleetListener) => void): void {
    for (const listener of this.#listeners) call(listener);
  }
}

const NEW: Standing = {
  registered: 'up',
  probe: 'unknown',
  breaker: 'closed',
  ejected: false,
  drained: false,
  passedOnce: false,
};

function sameAddress(one: Instance, other: Instance): boolean {
  return one.host === other.host && one.port === other.port && one.secure === other.secure;
}
