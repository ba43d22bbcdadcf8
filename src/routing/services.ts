import type { HostTable } from './hosts.ts';

/** The services that exist, found by the host of a request. */
export class ServicesByHost<Service extends { readonly name: string }> {
  /** Rises whenever an earlier answer may no longer hold. */
  revision = 1;
  #hosts: HostTable;
  readonly #byName = new Map<string, Service>();
  /** Names of services in lower case, where they are not spelled so: host names have no case. */
  readonly #spellings = new Map<string, string>();

  constructor(hosts: HostTable) {
    this.#hosts = hosts;
  }

  /** Another configuration of the hosts. */
  replace(hosts: HostTable): void {
    this.#hosts = hosts;
    this.revision++;
  }

  add(service: Service): void {
    const { name } = service;
    const lower = name.toLowerCase();
    if (lower !== name) this.#spellings.set(lower, name);
    this.#byName.set(name, service);
    this.revision++;
  }

  drop(service: Service): void {
    const { name } = service;
    if (this.#byName.get(name) !== service) return;
    const lower = name.toLowerCase();
    if (this.#spellings.get(lower) === name) this.#spellings.delete(lower);
    this.#byName.delete(name);
    this.revision++;
  }

  named(name: string): Service | undefined {
    return this.#byName.get(name);
  }

  /** The service that a lower-case host without port leads to. */
  resolve(host: string): Service | undefined {
    const configured = this.#hosts.configured(host);
    if (configured !== undefined) return this.#byName.get(configured);
    const name = this.#hosts.underDomain(host);
    if (name === undefined) return undefined;
    return this.#byName.get(name) ?? this.#byName.get(this.#spellings.get(name) ?? '');
  }
}
