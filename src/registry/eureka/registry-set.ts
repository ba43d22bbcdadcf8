import type { Instance } from '../../core/instance.ts';
import { isName, NAME_RULE } from '../../core/names.ts';
import type { OnSkip } from '../backend.ts';
import { quote } from '../record.ts';
import type { Registration } from './applications.ts';
import { instanceOf, statusOf, type EurekaStatus, type RegistrationRules } from './registration.ts';

interface Entry {
  readonly status: EurekaStatus;
  /** Undefined: not wanted, or not acceptable. It counts in the hash all the same. */
  readonly instance: Instance | undefined;
}

export interface SetOptions {
  readonly rules: RegistrationRules;
  /** By lower-case name; others are counted, not parsed. */
  readonly isWanted: (app: string) => boolean;
  readonly onSkip: OnSkip;
}

/** Everything that is registered, unfiltered: deltas and the hash only make sense on the whole. */
export class RegistrySet {
  readonly #options: SetOptions;
  readonly #apps = new Map<string, Map<string, Entry>>();
  readonly #counts = new Map<EurekaStatus, number>();
  #touched = new Set<string>();
  #size = 0;

  constructor(options: SetOptions) {
    this.#options = options;
  }

  /** Registrations, of every application. */
  get size(): number {
    return this.#size;
  }

  /** Wanted applications that have at least one registration, whether acceptable or not. */
  get apps(): string[] {
    return [...this.#apps.keys()].filter((app) => this.#isWanted(app));
  }

  /** Wanted applications that had a registration applied since this was last asked. */
  takeTouched(): ReadonlySet<string> {
    const touched = this.#touched;
    this.#touched = new Set();
    return touched;
  }

  /** Idempotent, as a delta repeats what happened for three minutes. */
  apply({ app, key, deleted, fields }: Registration): void {
    const entries = this.#apps.get(app);
    const before = entries?.get(key);
    if (this.#isWanted(app)) this.#touched.add(app);
    if (before) this.#count(before.status, -1);
    if (deleted) {
      entries?.delete(key);
      if (entries?.size === 0) this.#apps.delete(app);
      return;
    }
    const status = statusOf(fields);
    const entry = { status, instance: this.#isWanted(app) ? this.#parse(app, key, fields) : undefined };
    if (entries) entries.set(key, entry);
    else this.#apps.set(app, new Map([[key, entry]]));
    this.#count(status, 1);
  }

  /** The reconcile hash (Applications.getReconcileHashCode): every status that occurs, sorted, with its count. */
  hash(): string {
    const present = [...this.#counts].filter(([, count]) => count > 0).sort(([a], [b]) => (a < b ? -1 : 1));
    return present.map(([status, count]) => `${status}_${count}_`).join('');
  }

  /** Undefined where nothing is registered under that name. */
  instances(app: string): ReadonlyMap<string, Instance> | undefined {
    const entries = this.#apps.get(app);
    if (!entries || !this.#isWanted(app)) return undefined;
    const instances = new Map<string, Instance>();
    for (const [key, { instance }] of entries) {
      if (!instance) continue;
      if (instances.has(instance.id)) {
        this.#options.onSkip({
          service: app,
          id: instance.id,
          why: `instanceId ${quote(key)} makes an id that is taken`,
        });
      } else instances.set(instance.id, instance);
    }
    return instances;
  }

  #isWanted(app: string): boolean {
    return isName(app) && this.#options.isWanted(app);
  }

  #parse(app: string, key: string, fields: Registration['fields']): Instance | undefined {
    const parsed = instanceOf(app, key, fields, this.#options.rules);
    if (parsed?.ok === false) this.#options.onSkip({ service: app, id: key, why: parsed.why });
    return parsed?.ok === true ? parsed.instance : undefined;
  }

  #count(status: EurekaStatus, by: number): void {
    this.#counts.set(status, (this.#counts.get(status) ?? 0) + by);
    this.#size += by;
  }
}

/** Told where an application's name cannot be a service's. */
export function reportName(app: string, onSkip: OnSkip): void {
  onSkip({ service: app, id: '', why: `the application name ${quote(app)} must be ${NAME_RULE}` });
}
