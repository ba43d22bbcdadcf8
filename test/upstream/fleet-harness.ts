import { ManualClock } from '../../src/core/clock.ts';
import { type Instance, instance } from '../../src/core/instance.ts';
import { seededRandom } from '../../src/core/random.ts';
import type { Member } from '../../src/upstream/directory.ts';
import { Figures } from '../../src/upstream/figures.ts';
import { Fleet, type FleetOptions } from '../../src/upstream/fleet.ts';
import { POLICY } from '../policy.ts';

export function web(id: string, part: Partial<Instance> = {}): Instance {
  return instance({ id, service: 'web', host: '10.0.0.1', port: 8000 + id.charCodeAt(0), ...part });
}

/** A fleet on a clock that stands still, with a log of everything it says but its views. */
export class FleetHarness {
  readonly clock = new ManualClock();
  readonly figures: Figures;
  readonly fleet: Fleet;
  readonly log: string[] = [];

  constructor(options: Partial<FleetOptions> & { readonly capacity?: number } = {}) {
    this.figures = new Figures(options.capacity ?? 64);
    this.fleet = new Fleet({
      clock: this.clock,
      random: seededRandom(1),
      figures: this.figures,
      defaultPolicy: POLICY,
      ...options,
    });
    const say = (text: string): void => void this.log.push(text);
    this.fleet.listen({
      serviceAdded: ({ name }) => say(`service ${name}`),
      serviceDropped: ({ name }) => say(`no service ${name}`),
      added: ({ instance: { id } }) => say(`added ${id}`),
      updated: ({ instance: { id } }) => say(`updated ${id}`),
      removed: ({ instance: { id } }) => say(`removed ${id}`),
      freed: ({ instance: { id } }) => say(`freed ${id}`),
      refused: ({ id }) => say(`refused ${id}`),
      panic: ({ name }, on) => say(`panic ${name} ${on ? 'on' : 'off'}`),
      transition: ({ instance: { id } }, gate, from, to, cause) => say(`${id} ${gate}: ${from} > ${to} (${cause})`),
    });
  }

  /** Registers and probes; the log forgets it. */
  serving(...ids: string[]): Member[] {
    const members = ids.map((id) => {
      const member = this.fleet.upsert(web(id));
      if (!member) throw new Error(`${id} was refused`);
      this.fleet.setProbe(member, 'passing', 'test');
      return member;
    });
    this.fleet.flush();
    this.log.length = 0;
    return members;
  }

  /** Makes these the registered instances of the service. */
  reset(service: string, instances: readonly Instance[]): void {
    const listed = new Set(instances.map(({ id }) => id));
    for (const id of this.fleet.service(service)?.members.keys() ?? []) {
      if (!listed.has(id)) this.fleet.remove(service, id);
    }
    for (const each of instances) this.fleet.upsert(each);
  }

  /** Ids in the current view, after what is pending is published. */
  get slots(): string[] {
    return this.#ids('slots');
  }

  get trials(): string[] {
    return this.#ids('trials');
  }

  #ids(part: 'slots' | 'trials'): string[] {
    this.fleet.flush();
    const slots = this.fleet.service('web')?.view[part] ?? [];
    return [...slots].map((slot) => this.fleet.members[slot]?.instance.id ?? '?');
  }

  get view() {
    this.fleet.flush();
    return this.fleet.service('web')?.view;
  }

  fail(member: Member, times = 5): void {
    for (let time = 0; time < times; time++) member.admit()?.settle('timeout');
  }

  begin(member: Member): void {
    this.figures.inflight[member.slot]!++;
  }

  end(member: Member): void {
    this.figures.inflight[member.slot]!--;
    this.fleet.released(member);
  }
}
