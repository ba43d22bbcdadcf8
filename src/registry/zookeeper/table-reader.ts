import { isName, NAME_RULE } from '../../core/names.ts';
import { RegistryRefusal, type Interest, type OnSkip, type RegistryEvent } from '../backend.ts';
import type { RegistryLabel } from '../network-fault.ts';
import { quote } from '../record.ts';
import type { Changes } from './changes.ts';
import { aclAdvice, inWindow, reportForbidden, tooManyNodes, type NodeReader } from './reading.ts';
import type { Roster } from './roster.ts';

export interface TableOptions extends RegistryLabel {
  readonly endpoint: string;
  /** The node above the services, chroot included. */
  readonly base: string;
  readonly interest: Interest;
  readonly maxNodes: number;
  readonly onSkip: OnSkip;
}

interface NodeToRead {
  readonly service: string;
  readonly node: string;
}

/**
 * Reads services and instances into a roster: everything at first, and then what changed. A node that vanishes between
 * list and read is simply not there.
 *
 * Permissions are where an empty answer may be a lie. What is named in the configuration must be readable, and so must
 * at least something of everything: otherwise it throws a refusal. Beyond that a node that may not be read is left out
 * and reported, and one that was read before keeps what it held.
 */
export class TableReader {
  readonly #reader: NodeReader;
  readonly #roster: Roster;
  readonly #options: TableOptions;

  constructor(reader: NodeReader, roster: Roster, options: TableOptions) {
    this.#reader = reader;
    this.#roster = roster;
    this.#options = options;
  }

  /** Fills an empty roster. */
  async readAll(): Promise<void> {
    const { interest } = this.#options;
    const services = interest.kind === 'all' ? await this.#listBase() : [...interest.names].filter(isName);
    const wanted = await this.#listServices(services, () => undefined);
    const tally = new Map<string, { read: number; forbidden: number }>();
    for (const [{ service, node }, read] of await this.#readNodes(wanted)) {
      const counts = tally.get(service) ?? { read: 0, forbidden: 0 };
      tally.set(service, counts);
      if (read.kind === 'found') {
        counts.read += 1;
        this.#roster.put(service, node, read.value);
      } else if (read.kind === 'forbidden') {
        counts.forbidden += 1;
        reportForbidden(this.#options.onSkip, service, node, this.#pathOf(service, node));
      }
    }
    this.#judgePermissions(tally);
  }

  /** Looks at what changed, and says what it means. */
  async *readChanges(changes: Changes): AsyncGenerator<RegistryEvent, void, undefined> {
    const { onSkip, interest } = this.#options;
    const events: RegistryEvent[] = [];
    const tell = (event: RegistryEvent | undefined): void => {
      if (event) events.push(event);
    };
    // Before any read: a read that follows may already know of the node's next life.
    for (const { service, node, deleted } of changes.instances) if (deleted) tell(this.#roster.drop(service, node));
    const services = new Set(changes.services.filter((service) => this.#isServiceName(service)));
    if (changes.base && interest.kind === 'all')
      for (const service of await this.#changedServices()) services.add(service);
    const fresh = await this.#listServices([...services], tell);
    yield* events.splice(0);
    const touched = changes.instances.filter(({ service, deleted }) => !deleted && this.#isServiceName(service));
    const wanted = new Map([...fresh, ...touched].map((each) => [`${each.service}/${each.node}`, each]));
    for (const [{ service, node }, read] of await this.#readNodes([...wanted.values()])) {
      if (read.kind === 'found') tell(this.#roster.put(service, node, read.value));
      else if (read.kind === 'missing') tell(this.#roster.drop(service, node));
      else reportForbidden(onSkip, service, node, this.#pathOf(service, node));
    }
    this.#bound(this.#roster.size);
    yield* events;
  }

  /** Names of the services there are. */
  async #listBase(): Promise<readonly string[]> {
    const { base, onSkip } = this.#options;
    const read = await this.#reader.children(base);
    if (read.kind === 'forbidden') throw this.#refusal(base);
    if (read.kind === 'missing') {
      const why = `there is no node ${base}: nothing is registered yet, or check registries[].path and the chroot in registries[].connect`;
      onSkip({ service: '', id: '', why });
      return [];
    }
    return read.value.filter((service) => this.#isServiceName(service));
  }

  /** Services that came, and those that went: only a look at each says so for sure. */
  async #changedServices(): Promise<readonly string[]> {
    const listed = new Set(await this.#listBase());
    const gone = [...this.#roster.services].filter((service) => !listed.has(service));
    return [...[...listed].filter((service) => !this.#roster.has(service)), ...gone];
  }

  /** Enters the services into the roster; the nodes of theirs that it does not know are to be read. */
  async #listServices(
    services: readonly string[],
    tell: (event: RegistryEvent | undefined) => void,
  ): Promise<readonly NodeToRead[]> {
    const { interest, onSkip } = this.#options;
    const reads = await inWindow(services, (service) => this.#reader.children(this.#pathOf(service)));
    const unknown: NodeToRead[] = [];
    reads.forEach((read, at) => {
      const service = services[at] ?? '';
      if (read.kind === 'forbidden') {
        if (interest.kind === 'services') throw this.#refusal(this.#pathOf(service));
        reportForbidden(onSkip, service, '', this.#pathOf(service));
      } else if (read.kind === 'missing') tell(this.#roster.lost(service));
      else {
        tell(this.#roster.found(service));
        const known = this.#roster.nodes(service);
        for (const node of read.value) if (!known.delete(node)) unknown.push({ service, node });
        for (const node of known) tell(this.#roster.drop(service, node));
      }
    });
    this.#bound(unknown.length);
    return unknown;
  }

  async #readNodes(
    nodes: readonly NodeToRead[],
  ): Promise<(readonly [NodeToRead, Awaited<ReturnType<NodeReader['data']>>])[]> {
    return inWindow(
      nodes,
      async (each) => [each, await this.#reader.data(this.#pathOf(each.service, each.node))] as const,
    );
  }

  #judgePermissions(tally: ReadonlyMap<string, { read: number; forbidden: number }>): void {
    const blind = [...tally].filter(([, { read, forbidden }]) => forbidden > 0 && read === 0);
    const [first] = blind;
    if (!first) return;
    const seesSomething = [...tally.values()].some(({ read }) => read > 0);
    if (this.#options.interest.kind === 'services' || !seesSomething) throw this.#refusal(this.#pathOf(first[0]));
  }

  #isServiceName(service: string): boolean {
    if (isName(service)) return true;
    const why = `node ${quote(this.#pathOf(service))}: the service must be ${NAME_RULE}`;
    this.#options.onSkip({ service: '', id: '', why });
    return false;
  }

  #bound(nodes: number): void {
    const { endpoint, base, maxNodes } = this.#options;
    if (nodes > maxNodes) throw tooManyNodes(this.#options, endpoint, base, maxNodes);
  }

  #refusal(path: string): RegistryRefusal {
    const { registry, endpoint } = this.#options;
    return new RegistryRefusal(
      `registry "${registry}" at ${endpoint} refused us: ${path} may not be read (NOAUTH); ${aclAdvice(path)}`,
    );
  }

  #pathOf(service: string, node?: string): string {
    const path = `${this.#options.base}/${service}`;
    return node === undefined ? path : `${path}/${node}`;
  }
}
