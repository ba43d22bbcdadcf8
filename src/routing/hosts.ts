/**
 * Host names to services, compiled once per configuration. Exact names come before wildcards, longer wildcards before
 * shorter ones, and both before `S.<domain>`, which serves every service under its own name.
 */
export class HostTable {
  readonly #exact = new Map<string, string>();
  readonly #suffixes = new Map<string, string>();
  readonly #domainSuffix: string;

  /** `hosts`: pattern (lower case, `*.` in front for a wildcard) to service. `domain` empty: no `S.<domain>`. */
  constructor(hosts: Iterable<readonly [pattern: string, service: string]>, domain: string) {
    for (const [pattern, service] of hosts) {
      if (pattern.startsWith('*.')) this.#suffixes.set(pattern.slice(1), service);
      else this.#exact.set(pattern, service);
    }
    this.#domainSuffix = domain === '' ? '' : `.${domain.toLowerCase()}`;
  }

  /** The service that a lower-case host without port is configured for. */
  configured(host: string): string | undefined {
    const exact = this.#exact.get(host);
    if (exact !== undefined || this.#suffixes.size === 0) return exact;
    for (let dot = host.indexOf('.'); dot >= 0; dot = host.indexOf('.', dot + 1)) {
      const service = this.#suffixes.get(host.slice(dot));
      if (service !== undefined && dot > 0) return service;
    }
    return undefined;
  }

  /** The lower-case service name that the host stands for by the domain alone; whether it exists is not known here. */
  underDomain(host: string): string | undefined {
    const suffix = this.#domainSuffix;
    if (suffix === '' || host.length <= suffix.length || !host.endsWith(suffix)) return undefined;
    return host.slice(0, -suffix.length);
  }
}
