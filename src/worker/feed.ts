import { Pace } from '../core/pace.ts';
import type { ServicePolicy } from '../core/policy.ts';
import type { Member, ServiceDetail } from '../upstream/directory.ts';
import type { Fleet } from '../upstream/fleet.ts';
import type { View } from '../upstream/view.ts';
import type { ServiceUpdate, Update } from './update.ts';

export interface FeedOptions {
  readonly fleet: Fleet;
  /** The row of a service in the meters of every thread. */
  readonly rowOf: (service: string) => number;
  readonly send: (update: Update) => void;
}

/** What one update holds at most, so that no thread is blocked by applying it. */
const MAX_MEMBERS = 500;
const MAX_SERVICES = 250;
/** Updates sent and not acknowledged. One is applied while the next is on its way. */
const MAX_UNDERWAY = 2;
/**
 * An update costs both sides some 50 µs whatever it holds: a storm of changes is taken together, one update in so many
 * milliseconds. As many updates as are in `burst` go out at once before that, and so does what is changed at rest.
 */
const PACE = { everyMs: 4, burst: 8 };
/** Policies below this number are not worth a look at which are in use. */
const MIN_POLICIES = 64;
/** Slots beyond which a view is shared between threads in place of being copied to each. */
const SHARED_SLOTS = 1024;

/**
 * What one data-plane thread has yet to be told. Changes are taken together until it has dealt with what it was told
 * before, so that a thread that is slow gets fewer and larger updates, and never more than there is to know.
 */
export class Feed {
  readonly #options: FeedOptions;
  #freed: number[] = [];
  /** Indexes of services that the thread knows. */
  readonly #known = new Set<number>();
  #dropped: number[] = [];
  readonly #services = new Map<number, ServiceDetail>();
  readonly #members = new Map<number, Member>();
  readonly #views = new Map<number, ServiceDetail>();
  readonly #policies = new Map<ServicePolicy, number>();
  #policyCount = 0;
  #pruneAt = MIN_POLICIES;
  /** Changes so far, those sent with an update under way, those applied. */
  #changes = 0;
  #sent = 0;
  #applied = 0;
  #underway = 0;
  #scheduled = false;
  #cancelTimer: (() => void) | undefined;
  /** Of updates that tell all. */
  readonly #pace: Pace;
  #closed = false;
  #waiting: { readonly passed: () => boolean; readonly resolve: () => void }[] = [];

  /** Begins with all that there is. */
  constructor(options: FeedOptions) {
    this.#options = options;
    this.#pace = new Pace(options.fleet.clock, PACE);
    for (const service of options.fleet.services.values()) {
      this.serviceChanged(service);
      this.viewChanged(service);
    }
    for (const member of options.fleet.members) if (member) this.memberChanged(member);
  }

  /** Whether the thread has taken over what had been told when this was called, or is no more. */
  mark(): () => boolean {
    const mark = this.#changes;
    return () => this.#closed || this.#applied >= mark;
  }

  /** Resolves when the thread has taken over what has been told so far, or is no more. */
  whenApplied(): Promise<void> {
    const passed = this.mark();
    if (passed()) return Promise.resolve();
    return new Promise((resolve) => {
      this.#waiting.push({ passed, resolve });
    });
  }

  serviceChanged(service: ServiceDetail): void {
    this.#services.set(service.index, service);
    this.#changed();
  }

  serviceDropped({ index }: ServiceDetail): void {
    this.#services.delete(index);
    this.#views.delete(index);
    if (this.#known.delete(index)) this.#dropped.push(index);
    this.#changed();
  }

  memberChanged(member: Member): void {
    this.#members.set(member.slot, member);
    this.#changed();
  }

  memberFreed({ slot }: Member): void {
    this.#members.delete(slot);
    this.#freed.push(slot);
    this.#changed();
  }

  viewChanged(service: ServiceDetail): void {
    // Of one that has been dropped: its index may soon be another's.
    if (this.#options.fleet.service(service.name) !== service) return;
    this.#views.set(service.index, service);
    this.#changed();
  }

  acknowledged(through: number): void {
    this.#underway--;
    this.#applied = Math.max(this.#applied, through);
    this.#tellWaiting();
    if (!this.#scheduled) this.#pump();
  }

  close(): void {
    this.#closed = true;
    this.#cancelTimer?.();
    this.#tellWaiting();
  }

  #tellWaiting(): void {
    if (this.#waiting.length === 0) return;
    const due = this.#waiting.filter(({ passed }) => passed());
    this.#waiting = this.#waiting.filter((each) => !due.includes(each));
    for (const { resolve } of due) resolve();
  }

  #changed(): void {
    this.#changes++;
    if (this.#scheduled) return;
    this.#scheduled = true;
    const run = (): void => {
      this.#scheduled = false;
      this.#cancelTimer = undefined;
      this.#pump();
    };
    const { waitMs } = this.#pace;
    if (waitMs > 0) this.#cancelTimer = this.#options.fleet.clock.after(waitMs, run);
    else queueMicrotask(run);
  }

  #pump(): void {
    while (!this.#closed && this.#underway < MAX_UNDERWAY && this.#sent < this.#changes) {
      const update = this.#take();
      this.#underway++;
      this.#options.send(update);
    }
  }

  #take(): Update {
    const freed = this.#freed;
    this.#freed = [];
    const dropped = this.#dropped;
    this.#dropped = [];
    const policies: [number, ServicePolicy][] = [];
    const services = this.#takeServices(policies);
    const forgotten = this.#policies.size > this.#pruneAt ? this.#prunePolicies() : [];
    const members = this.#services.size === 0 ? this.#takeMembers() : NO_MEMBERS;
    // A view may only name what the thread knows.
    const views = this.#services.size + this.#members.size === 0 ? this.#takeViews() : [];
    if (this.#services.size + this.#members.size + this.#views.size === 0) {
      this.#sent = this.#changes;
      this.#pace.turn();
    }
    return { through: this.#sent, freed, dropped, policies, forgotten, services, members, views };
  }

  #takeServices(policies: [number, ServicePolicy][]): ServiceUpdate[] {
    const services: ServiceUpdate[] = [];
    for (const [index, { name, policy }] of this.#services) {
      if (services.length >= MAX_SERVICES) break;
      this.#services.delete(index);
      this.#known.add(index);
      services.push({ index, name, row: this.#options.rowOf(name), policy: this.#policyNumber(policy, policies) });
    }
    return services;
  }

  #policyNumber(policy: ServicePolicy, fresh: [number, ServicePolicy][]): number {
    let number = this.#policies.get(policy);
    if (number === undefined) {
      number = ++this.#policyCount;
      this.#policies.set(policy, number);
      fresh.push([number, policy]);
    }
    return number;
  }

  /** Reloads make policies anew; those that no service has any more are forgotten. */
  #prunePolicies(): number[] {
    const inUse = new Set<ServicePolicy>();
    for (const { policy } of this.#options.fleet.services.values()) inUse.add(policy);
    const forgotten: number[] = [];
    for (const [policy, number] of this.#policies) {
      if (inUse.has(policy)) continue;
      this.#policies.delete(policy);
      forgotten.push(number);
    }
    this.#pruneAt = Math.max(MIN_POLICIES, 2 * this.#policies.size);
    return forgotten;
  }

  #takeMembers(): Update['members'] {
    if (this.#members.size === 0) return NO_MEMBERS;
    const slots: number[] = [];
    const services: number[] = [];
    const ids: string[] = [];
    const hosts: string[] = [];
    const ports: number[] = [];
    const secure: boolean[] = [];
    for (const [slot, { instance, service }] of this.#members) {
      if (slots.length >= MAX_MEMBERS) break;
      this.#members.delete(slot);
      slots.push(slot);
      services.push(service.index);
      ids.push(instance.id);
      hosts.push(instance.host);
      ports.push(instance.port);
      secure.push(instance.secure);
    }
    return { slots, services, ids, hosts, ports, secure };
  }

  #takeViews(): [number, View][] {
    const views: [number, View][] = [];
    for (const [index, service] of this.#views) {
      if (views.length >= MAX_SERVICES) break;
      this.#views.delete(index);
      views.push([index, shareable(service.view)]);
    }
    return views;
  }
}

const NO_MEMBERS: Update['members'] = { slots: [], services: [], ids: [], hosts: [], ports: [], secure: [] };

/** Views whose slots lie in shared memory, by the view they were made of: one copy serves every thread. */
const shared = new WeakMap<View, View>();

function shareable(view: View): View {
  if (view.slots.length <= SHARED_SLOTS) return view;
  let copy = shared.get(view);
  if (!copy) {
    const slots = new Int32Array(new SharedArrayBuffer(view.slots.byteLength));
    slots.set(view.slots);
    copy = { ...view, slots };
    shared.set(view, copy);
  }
  return copy;
}
