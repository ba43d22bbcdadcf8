import type { Instance } from '../../core/instance.ts';
import type { Interest, RegistryEvent } from '../backend.ts';
import { sameInstance } from '../same.ts';
import type { RegistrySet } from './registry-set.ts';

/**
 * The names under which applications are told. Eureka writes them in capitals and means no case at all: everything is
 * in lower case, as Spring's clients show it; what is asked for by name keeps the spelling it was asked for in.
 */
export class Spellings {
  readonly #byApp: ReadonlyMap<string, readonly string[]> | undefined;

  constructor(interest: Interest) {
    if (interest.kind === 'all') return;
    const byApp = new Map<string, string[]>();
    for (const name of interest.names) {
      const app = name.toLowerCase();
      const names = byApp.get(app);
      if (names) names.push(name);
      else byApp.set(app, [name]);
    }
    this.#byApp = byApp;
  }

  readonly isWanted = (app: string): boolean => this.#byApp?.has(app) ?? true;

  of(app: string): readonly string[] {
    return this.#byApp ? (this.#byApp.get(app) ?? []) : [app];
  }

  /** Applications that are wanted by name. */
  get named(): Iterable<string> {
    return this.#byApp?.keys() ?? [];
  }
}

/** What a watch has told, so that the next answer becomes the difference only. */
export class Told {
  readonly #spellings: Spellings;
  readonly #tables = new Map<string, ReadonlyMap<string, Instance>>();
  #last: RegistrySet | undefined;

  constructor(spellings: Spellings) {
    this.#spellings = spellings;
  }

  /** The first time everything, then the difference. */
  *tell(set: RegistrySet): Generator<RegistryEvent, void, undefined> {
    const touched = set.takeTouched();
    const opening = this.#last === undefined;
    const before = opening ? this.#spellings.named : this.#tables.keys();
    const live = set === this.#last;
    const apps = live ? touched : new Set([...before, ...touched]);
    this.#last = set;
    for (const app of apps) {
      if (live && !set.instances(app)) yield* this.#farewells(app);
      yield* this.#diff(app, set, opening);
    }
  }

  /** A delta names who was cancelled, be it the last one: that is another thing than a list that lacks a service. */
  *#farewells(app: string): Generator<RegistryEvent, void, undefined> {
    const ids = [...(this.#tables.get(app)?.keys() ?? [])];
    for (const service of this.#spellings.of(app)) for (const id of ids) yield { kind: 'remove', service, id };
  }

  *#diff(app: string, set: RegistrySet, opening: boolean): Generator<RegistryEvent, void, undefined> {
    const before = this.#tables.get(app);
    const now = set.instances(app);
    if (!now) {
      this.#tables.delete(app);
      if (before || opening) for (const service of this.#spellings.of(app)) yield { kind: 'absent', service };
      return;
    }
    this.#tables.set(app, now);
    for (const service of this.#spellings.of(app)) {
      const ours = (instance: Instance): Instance =>
        instance.service === service ? instance : { ...instance, service };
      if (!before) {
        yield { kind: 'reset', service, instances: [...now.values()].map(ours) };
        continue;
      }
      for (const id of before.keys()) if (!now.has(id)) yield { kind: 'remove', service, id };
      for (const [id, instance] of now) {
        const known = before.get(id);
        if (!known || !sameInstance(known, instance)) yield { kind: 'upsert', instance: ours(instance) };
      }
    }
  }
}
