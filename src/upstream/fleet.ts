import { BreakerGate, type BreakerReports } from '../breaker/gate.ts';
import type { Clock } from '../core/clock.ts';
import type { BreakerState, ProbeState } from '../core/health.ts';
import type { Instance, RegisteredState } from '../core/instance.ts';
import type { ServicePolicy } from '../core/policy.ts';
import type { Random } from '../core/random.ts';
import { sameInstance } from '../registry/same.ts';
import { type Gate, pack, sameToViews, type Standing, unpack } from './availability.ts';
import { StandingColumns } from './columns.ts';
import { type Barrier, Departures } from './departures.ts';
import type { Member, ServiceDetail } from './directory.ts';
import { explainMember, IN_ROTATION, type InstanceReport } from './explain.ts';
import { fallbackInstances, isFallback } from './fallback.ts';
import type { Figures } from './figures.ts';
import { type FleetListener, FleetListeners } from './fleet-listener.ts';
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
  /** Of those ejected whose end was told. */
  readonly #ejectedUntilMs = new Map<MemberRecord, number>();
  /** Number of resets so far: a member that the current one has not seen is gone. */
  #resets = 0;

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
      figures: options.figures,
      codes: this.columns.codes,
      bySlot: this.#slots.owners,
      random: options.random,
      defaultPolicy: options.defaultPolicy,
      maxServices: options.maxServices ?? MAX_SERVICES,
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

  /**
   * Makes the registered instances of the service (all of them of this service) exactly these; those that were there
   * already keep their state.
   */
  reset(name: string, instances: readonly Instance[]): void {
    const wallMs = this.clock.wall();
    const reset = ++this.#resets;
    const refused: Instance[] = [];
    for (const instance of instances) {
      const member = isFallback(instance) ? undefined : this.#upsert(instance, wallMs);
      if (member) member.seen = reset;
      else refused.push(instance);
    }
    const members = this.#table.byName.get(name)?.members.values() ?? [];
    for (const member of members) if (member.seen !== reset && !isFallback(member.instance)) this.#remove(member);
    for (const instance of refused) this.upsert(instance);
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
    if (!record) return;
    const from = record.health.probe;
    const passes = state === 'passing' || state === 'degraded';
    if (!this.#stand(record, passes ? { probe: state, passedOnce: true } : { probe: state }, 'probe')) return;
    this.#listeners.tell((listener) => listener.transition?.(record, 'probe', from, state, cause));
  }

  /**
   * Takes a member out, as hanging or as an outlier, or lets it in again. False where the ejection cap forbids it.
   * `forMs` is told by `explain`; to let it in again is up to the caller.
   */
  setEjected(member: Member, ejected: boolean, cause: string, forMs?: number): boolean {
    const record = this.#present(member);
    if (!record) return false;
    const { ejected: before, breaker } = record.health;
    if (before === ejected) return true;
    // Who is out by breaker is counted already.
    if (ejected && breaker === 'closed' && !record.service.claimEjection(record)) return false;
    if (ejected && forMs !== undefined) this.#ejectedUntilMs.set(record, this.clock.now() + forMs);
    else this.#ejectedUntilMs.delete(record);
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

  /** Why a member has traffic or not, gate by gate. */
  explain(member: Member): InstanceReport | undefined {
    const record = this.#slots.owners[member.slot];
    return record === member
      ? explainMember(record, record.service, {
          columns: this.columns,
          figures: this.figures,
          weight: this.#weighing.factorsOf(record),
          ejectedUntilMs: this.#ejectedUntilMs.get(record),
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
    for (const member of this.#slots.owners) member?.closeBreaker();
  }

  breakerChanged(member: MemberRecord, from: BreakerState, to: BreakerState, cause: string): void {
    this.#stand(member, { breaker: to }, 'breaker');
    this.#listeners.tell((listener) => listener.transition?.(member, 'breaker', from, to, cause));
  }

  /** Whoever held these trials is no more. Looks at every slot. */
  trialsLost(holder: number): void {
    for (const member of this.#slots.owners) {
      if (member?.breaker && this.figures.breakers.trialHolder(member.slot) === holder) member.breaker.trialLost();
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
    const member = this.#slots.take((slot) => new MemberRecord(slot, service, instance, this));
    this.figures.clear(member.slot);
    this.columns.begin(member.slot, isFallback(instance) ? NEW_FALLBACK : NEW_CODES[instance.state], wallMs);
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
    if (previous.state !== instance.state) {
      this.#stand(member, { registered: instance.state }, 'registered');
      const cause = instance.stateReason ?? 'the registry says so';
      this.#listeners.tell((listener) =>
        listener.transition?.(member, 'registered', previous.state, instance.state, cause),
      );
    }
    this.#listeners.tell((listener) => listener.updated?.(member, previous));
  }

  #remove(member: MemberRecord): void {
    member.service.remove(member);
    this.#weighing.removed(member);
    this.#ejectedUntilMs.delete(member);
    member.leave();
    this.#stand(member, { breaker: 'closed' }, 'breaker');
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
    member.service.recount(member, from, to);
    this.#weighing.changed(member, from);
    if (!sameToViews(member.service.policy.availability.mode, from, to)) this.#publisher.touch(member.service);
    return true;
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

  #tellTransition(member: MemberRecord, gate: Gate, word: string, on: boolean, cause: string): void {
    const [from, to] = on ? [IN_ROTATION, word] : [word, IN_ROTATION];
    this.#listeners.tell((listener) => listener.transition?.(member, gate, from, to, cause));
  }
}

const NEW_CODES: Readonly<Record<RegisteredState, number>> = {
  up: newCode('up'),
  degraded: newCode('degraded'),
  down: newCode('down'),
};

const NEW_FALLBACK = newCode('up', true);

function newCode(registered: RegisteredState, fallback = false): number {
  const reasons = { registered, probe: 'unknown', breaker: 'closed', ejected: false, drained: false } as const;
  return pack({ ...reasons, passedOnce: false, fallback });
}

function sameAddress(one: Instance, other: Instance): boolean {
  return one.host === other.host && one.port === other.port && one.secure === other.secure;
}
