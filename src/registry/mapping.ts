import type { Instance } from '../core/instance.ts';
import { isName, NAME_RULE } from '../core/names.ts';
import type { Interest, OnSkip, RegistryBackend, RegistryEvent, RegistryInfo } from './backend.ts';

/** Which services of a registry are taken over, and what they are called here. */
export type ServiceMapping =
  /** Every service, under the registry's own name with a prefix before it (mostly none). */
  | { readonly kind: 'all'; readonly prefix: string }
  /** From our name to the registry's. Several of ours may mean the same one. */
  | { readonly kind: 'named'; readonly theirs: ReadonlyMap<string, string> };

export const EVERYTHING: ServiceMapping = { kind: 'all', prefix: '' };

/** What we call a service of the registry; nothing where it is not taken over. */
export function namesHere(mapping: ServiceMapping, theirs: string): readonly string[] {
  if (mapping.kind === 'all') return [`${mapping.prefix}${theirs}`];
  return [...mapping.theirs].flatMap(([ours, name]) => (name === theirs ? [ours] : []));
}

/** What the registry calls a service of ours; undefined where it is not taken over from there. */
export function nameThere(mapping: ServiceMapping, ours: string): string | undefined {
  if (mapping.kind === 'named') return mapping.theirs.get(ours);
  return ours.startsWith(mapping.prefix) ? ours.slice(mapping.prefix.length) : undefined;
}

/**
 * The backend as seen in our names: the interest is translated on the way in, events and lists on the way out. Services
 * whose name here would be none are left out and reported, each once per watch or list.
 */
export function mapped(backend: RegistryBackend, mapping: ServiceMapping, onSkip: OnSkip): RegistryBackend {
  return new MappedBackend(backend, mapping, onSkip);
}

class MappedBackend implements RegistryBackend {
  readonly type: string;
  readonly alwaysFresh: boolean;
  readonly maxSilenceMs?: number;
  readonly #backend: RegistryBackend;
  readonly #mapping: ServiceMapping;
  readonly #onSkip: OnSkip;
  /** From the registry's name to ours, where they are listed. */
  readonly #ours = new Map<string, string[]>();

  constructor(backend: RegistryBackend, mapping: ServiceMapping, onSkip: OnSkip) {
    this.type = backend.type;
    this.alwaysFresh = backend.alwaysFresh ?? false;
    if (backend.maxSilenceMs !== undefined) this.maxSilenceMs = backend.maxSilenceMs;
    this.#backend = backend;
    this.#mapping = mapping;
    this.#onSkip = onSkip;
    if (mapping.kind === 'all') return;
    for (const [ours, theirs] of mapping.theirs) {
      if (!isName(ours)) throw new Error(`the service name ${JSON.stringify(ours)} must be ${NAME_RULE}`);
      const names = this.#ours.get(theirs);
      if (names) names.push(ours);
      else this.#ours.set(theirs, [ours]);
    }
  }

  async *watch(interest: Interest, signal: AbortSignal): AsyncIterable<RegistryEvent> {
    const naming = new Naming(this.#ours, this.#mapping, interest, this.#onSkip);
    for await (const event of this.#backend.watch(this.#translated(interest), signal)) {
      if (event.kind === 'synced') {
        yield event;
        continue;
      }
      const theirs = event.kind === 'upsert' ? event.instance.service : event.service;
      for (const ours of naming.of(theirs)) yield ours === theirs ? event : renamed(event, ours);
    }
  }

  async list(interest: Interest, signal: AbortSignal): Promise<ReadonlyMap<string, readonly Instance[]>> {
    const naming = new Naming(this.#ours, this.#mapping, interest, this.#onSkip);
    const listed = await this.#backend.list(this.#translated(interest), signal);
    const result = new Map<string, readonly Instance[]>();
    for (const [theirs, instances] of listed) {
      for (const ours of naming.of(theirs)) {
        result.set(ours, ours === theirs ? instances : instances.map((each) => ({ ...each, service: ours })));
      }
    }
    return result;
  }

  info(): RegistryInfo {
    return this.#backend.info();
  }

  #translated(interest: Interest): Interest {
    if (interest.kind === 'all') {
      return this.#mapping.kind === 'all' ? interest : { kind: 'services', names: new Set(this.#ours.keys()) };
    }
    const mapping = this.#mapping;
    const names = [...interest.names].flatMap((ours) => {
      if (mapping.kind === 'named') return mapping.theirs.get(ours) ?? [];
      return ours.startsWith(mapping.prefix) ? [ours.slice(mapping.prefix.length)] : [];
    });
    return { kind: 'services', names: new Set(names) };
  }
}

const NONE: readonly string[] = [];

/** Our names for theirs during one watch or list; remembers what it has reported. */
class Naming {
  readonly #ours: ReadonlyMap<string, readonly string[]>;
  readonly #mapping: ServiceMapping;
  readonly #interest: Interest;
  readonly #onSkip: OnSkip;
  readonly #reported = new Set<string>();

  constructor(
    ours: ReadonlyMap<string, readonly string[]>,
    mapping: ServiceMapping,
    interest: Interest,
    onSkip: OnSkip,
  ) {
    this.#ours = ours;
    this.#mapping = mapping;
    this.#interest = interest;
    this.#onSkip = onSkip;
  }

  of(theirs: string): readonly string[] {
    const interest = this.#interest;
    const names = this.#mapping.kind === 'named' ? (this.#ours.get(theirs) ?? NONE) : this.#prefixed(theirs);
    return interest.kind === 'all' ? names : names.filter((ours) => interest.names.has(ours));
  }

  #prefixed(theirs: string): readonly string[] {
    const ours = this.#mapping.kind === 'all' ? `${this.#mapping.prefix}${theirs}` : theirs;
    if (isName(ours)) return [ours];
    // Bounded, as the names are the registry's.
    if (!this.#reported.has(theirs) && this.#reported.size < 1000) {
      this.#reported.add(theirs);
      this.#onSkip({ service: theirs, id: '*', why: `the service name ${JSON.stringify(ours)} must be ${NAME_RULE}` });
    }
    return NONE;
  }
}

function renamed(event: Exclude<RegistryEvent, { kind: 'synced' }>, service: string): RegistryEvent {
  switch (event.kind) {
    case 'upsert':
      return { kind: 'upsert', instance: { ...event.instance, service } };
    case 'reset':
      return { ...event, service, instances: event.instances.map((each) => ({ ...each, service })) };
    case 'remove':
    case 'absent':
      return { ...event, service };
  }
}
