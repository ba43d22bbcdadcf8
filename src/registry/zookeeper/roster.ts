import type { Instance } from '../../core/instance.ts';
import type { OnSkip, RegistryEvent } from '../backend.ts';
import { idOfRest } from '../etcd/keys.ts';
import { quote } from '../record.ts';
import { sameInstance } from '../same.ts';
import { parseNode, type ZookeeperLayout } from './layout.ts';

/** What a watch has told, node by node, so that each change of a node becomes one event or none. */
export class Roster {
  readonly #layout: ZookeeperLayout;
  readonly #onSkip: OnSkip;
  /** Per service that exists, its instances by id, each with the node it comes from. May be empty: so may a service. */
  readonly #services = new Map<string, Map<string, { readonly node: string; readonly instance: Instance }>>();

  #size = 0;

  constructor(layout: ZookeeperLayout, onSkip: OnSkip) {
    this.#layout = layout;
    this.#onSkip = onSkip;
  }

  /** Instances in it. */
  get size(): number {
    return this.#size;
  }

  get services(): Iterable<string> {
    return this.#services.keys();
  }

  has(service: string): boolean {
    return this.#services.has(service);
  }

  instances(service: string): readonly Instance[] {
    return [...(this.#services.get(service)?.values() ?? [])].map(({ instance }) => instance);
  }

  /** The nodes of the service that hold an instance. */
  nodes(service: string): Set<string> {
    return new Set([...(this.#services.get(service)?.values() ?? [])].map(({ node }) => node));
  }

  /** The service exists, empty as yet. Nothing changes where it is known. */
  found(service: string): RegistryEvent | undefined {
    if (this.#services.has(service)) return undefined;
    this.#services.set(service, new Map());
    return { kind: 'reset', service, instances: [] };
  }

  /** The node of the service is gone. */
  lost(service: string): RegistryEvent | undefined {
    const known = this.#services.get(service);
    if (!known) return undefined;
    this.#size -= known.size;
    this.#services.delete(service);
    return { kind: 'absent', service };
  }

  /** What a node now holds. Data gone bad take the instance away, as a list would. */
  put(service: string, node: string, data: Buffer): RegistryEvent | undefined {
    const known = this.#services.get(service);
    const id = idOfRest(node);
    const present = known?.get(id);
    if (present && present.node !== node) {
      this.skip(service, id, `node ${quote(node)} makes the same id as ${quote(present.node)}`);
      return undefined;
    }
    const parsed = parseNode(this.#layout, { service, id, node }, data);
    if (!parsed.ok) {
      this.skip(service, id, parsed.why);
      return this.drop(service, node);
    }
    const { instance } = parsed;
    if (present && sameInstance(present.instance, instance)) return undefined;
    if (!present) this.#size += 1;
    if (known) {
      known.set(id, { node, instance });
      return { kind: 'upsert', instance };
    }
    this.#services.set(service, new Map([[id, { node, instance }]]));
    return { kind: 'reset', service, instances: [instance] };
  }

  drop(service: string, node: string): RegistryEvent | undefined {
    const known = this.#services.get(service);
    const id = idOfRest(node);
    if (known?.get(id)?.node !== node) return undefined;
    known.delete(id);
    this.#size -= 1;
    return { kind: 'remove', service, id };
  }

  skip(service: string, id: string, why: string): void {
    this.#onSkip({ service, id, why });
  }
}
