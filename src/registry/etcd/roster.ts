import type { Instance } from '../../core/instance.ts';
import { isName, NAME_RULE } from '../../core/names.ts';
import type { Interest, OnSkip, RegistryEvent } from '../backend.ts';
import { quote } from '../record.ts';
import { idOfRest, splitKey } from './keys.ts';
import { parseValue, type Layout } from './layout.ts';
import type { KeyValue } from './messages.ts';

export interface RosterOptions {
  readonly prefix: string;
  readonly interest: Interest;
  readonly layout: Layout;
  readonly onSkip: OnSkip;
}

/** Which keys stand for which instances, so that each change of a key becomes one event or none. Keeps no instances. */
export class Roster {
  readonly #options: RosterOptions;
  /** Per service, the id of every instance told, and the rest of the key it comes from. No service is empty. */
  readonly #services = new Map<string, Map<string, string>>();
  #size = 0;

  constructor(options: RosterOptions) {
    this.#options = options;
  }

  get services(): Iterable<string> {
    return this.#services.keys();
  }

  /** Whether the service has an instance. */
  has(service: string): boolean {
    return this.#services.has(service);
  }

  /** Instances told. */
  get size(): number {
    return this.#size;
  }

  /** The instance that a key now stands for, entered into the roster; undefined where there is none. */
  enter({ key, value }: KeyValue): Instance | undefined {
    const place = this.#place(key);
    if (!place) return undefined;
    const { service, rest, id } = place;
    const owner = this.#services.get(service)?.get(id);
    if (owner !== undefined && owner !== rest) {
      this.#options.onSkip({ service, id, why: `key ${quote(key)} makes the same id as ${quote(owner)}` });
      return undefined;
    }
    const parsed = parseValue(service, id, value, this.#options.layout);
    if (!parsed.ok) {
      this.#options.onSkip({ service, id, why: parsed.why });
      return undefined;
    }
    this.#add(service, id, rest);
    return parsed.instance;
  }

  /** What a written key means to those who know the roster. A value gone bad takes its instance away, as a list would. */
  put(pair: KeyValue): RegistryEvent | undefined {
    const place = this.#place(pair.key);
    if (!place) return undefined;
    const isNew = !this.#services.has(place.service);
    const entered = this.enter(pair);
    if (!entered) return this.#remove(place);
    // The first word about a service is its whole truth.
    return isNew
      ? { kind: 'reset', service: entered.service, instances: [entered] }
      : { kind: 'upsert', instance: entered };
  }

  /** What a deleted key means. */
  delete(key: string): RegistryEvent | undefined {
    const place = this.#place(key);
    return place && this.#remove(place);
  }

  #add(service: string, id: string, rest: string): void {
    let ids = this.#services.get(service);
    if (!ids) this.#services.set(service, (ids = new Map<string, string>()));
    if (!ids.has(id)) this.#size += 1;
    ids.set(id, rest);
  }

  #remove({ service, rest, id }: Place): RegistryEvent | undefined {
    const ids = this.#services.get(service);
    if (ids?.get(id) !== rest) return undefined;
    ids.delete(id);
    this.#size -= 1;
    if (ids.size === 0) this.#services.delete(service);
    // Also of the last one: somebody deleted this key, which is another thing than a service that is not found.
    return { kind: 'remove', service, id };
  }

  #place(key: string): Place | undefined {
    const { prefix, interest, onSkip } = this.#options;
    const parts = splitKey(prefix, key);
    if (parts && interest.kind === 'services' && !interest.names.has(parts.service)) return undefined;
    if (!parts) {
      onSkip({ service: '', id: '', why: `key ${quote(key)} is not <prefix><service>/<instance>` });
      return undefined;
    }
    if (!isName(parts.service)) {
      onSkip({ service: '', id: '', why: `key ${quote(key)}: the service must be ${NAME_RULE}` });
      return undefined;
    }
    return { ...parts, id: idOfRest(parts.rest) };
  }
}

interface Place {
  readonly service: string;
  readonly rest: string;
  readonly id: string;
}
