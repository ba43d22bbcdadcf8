import type { CheckOverride } from './check.ts';

/** What a registry itself says of an instance. `degraded`: it works, and should get less. */
export type RegisteredState = 'up' | 'degraded' | 'down';

/**
 * One registered address of a service. Immutable: a change makes a new object; a changed host or port is a new
 * instance altogether, whatever its id.
 */
export interface Instance {
  /** Unique within the service; `isName` holds. */
  readonly id: string;
  readonly service: string;
  /** IP address (IPv6 without brackets) or host name. */
  readonly host: string;
  readonly port: number;
  /** Share of traffic relative to its peers; > 0. */
  readonly weight: number;
  readonly zone: string | undefined;
  readonly version: string | undefined;
  /** The instance speaks TLS. */
  readonly secure: boolean;
  readonly state: RegisteredState;
  /** Why the registry says `degraded` or `down`, in its own words. */
  readonly stateReason: string | undefined;
  readonly metadata: ReadonlyMap<string, string>;
  readonly checks: readonly CheckOverride[] | undefined;
}

/** An instance with every optional part at its default. */
export function instance(part: Pick<Instance, 'id' | 'service' | 'host' | 'port'> & Partial<Instance>): Instance {
  const { id, service, host, port, weight = 1, zone, version, secure = false, state = 'up' } = part;
  const { stateReason, metadata = NO_METADATA, checks } = part;
  return { id, service, host, port, weight, zone, version, secure, state, stateReason, metadata, checks };
}

/**
 * What is described, under this id. What is spread into an object literal V8 keeps beside the object, in half as much
 * memory again, and there may be 100,000.
 */
export function withId(described: Omit<Instance, 'id'> & Partial<Pick<Instance, 'id'>>, id: string): Instance {
  return described.id === id ? (described as Instance) : instance({ ...described, id });
}

const NO_METADATA: ReadonlyMap<string, string> = new Map();

/** `host:port`, with brackets around IPv6. The identity of an address when registries are merged. */
export function addressOf(where: Pick<Instance, 'host' | 'port'>): string {
  return where.host.includes(':') ? `[${where.host}]:${where.port}` : `${where.host}:${where.port}`;
}
