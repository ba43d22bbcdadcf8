import { systemClock } from '../../../src/core/clock.ts';
import type { Interest } from '../../../src/registry/backend.ts';
import { DnsBackend, type DnsOptions } from '../../../src/registry/dns/dns-backend.ts';
import { Observation } from '../../contract/observation.ts';
import { FakeDns } from '../../servers/dns.ts';

export const ALL: Interest = { kind: 'all' };
export const SRV_NAME = '_web._tcp.test';

/** Name servers and watches of one test. Disposed of together. */
export class DnsStage {
  readonly skips: { service: string; id: string; why: string }[] = [];
  readonly #servers: FakeDns[] = [];
  readonly #watching: Observation[] = [];

  async server(): Promise<FakeDns> {
    const made = await FakeDns.start();
    made.negativeTtlS = 0;
    this.#servers.push(made);
    return made;
  }

  backend(servers: FakeDns | readonly FakeDns[], more: Partial<DnsOptions> = {}): DnsBackend {
    return new DnsBackend({
      name: 'dns',
      servers: (servers instanceof FakeDns ? [servers] : servers).map((each) => each.server),
      services: new Map([['web', { kind: 'srv', name: SRV_NAME }]]),
      tcp: false,
      minTtlMs: 30,
      timeoutMs: 150,
      clock: systemClock,
      random: () => 0,
      onSkip: (what) => this.skips.push(what),
      ...more,
    });
  }

  watch(servers: FakeDns | readonly FakeDns[], more: Partial<DnsOptions> = {}): Observation {
    return this.observe(this.backend(servers, more));
  }

  observe(backend: DnsBackend): Observation {
    const observation = new Observation(backend, ALL);
    this.#watching.push(observation);
    return observation;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#watching.map((each) => each.stop()));
    await Promise.all(this.#servers.map((each) => each[Symbol.asyncDispose]()));
  }
}

export async function ended(observation: Observation): Promise<Error> {
  await observation.until('the end', () => observation.end !== undefined, 5000);
  return observation.end?.error as Error;
}

/** `host:port*weight` of every instance. */
export function told(observation: Observation, service = 'web'): string {
  return observation
    .of(service)
    .map(({ host, port, weight }) => `${host}:${port}*${weight}`)
    .join(' ');
}

export function seen(observation: Observation, wanted: string, service = 'web'): Promise<void> {
  return observation.until(`${service}: ${wanted}`, () => told(observation, service) === wanted, 3000);
}
