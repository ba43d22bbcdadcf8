import type { Clock } from '../../core/clock.ts';
import { HttpClient } from '../http-client.ts';
import type { RegistryLabel } from '../network-fault.ts';
import { readCredentials, type ClusterAccess, type Credentials } from './credentials.ts';

export interface ConnectionsOptions extends RegistryLabel {
  readonly access: ClusterAccess;
  /** Credentials older than this are read again before a request. */
  readonly credentialsMs: number;
  readonly maxConnections: number;
  readonly clock: Clock;
}

/** A client with the credentials it was made of. To be released by every user, once. */
export interface Connection {
  readonly client: HttpClient;
  readonly token: string | undefined;
  release(): void;
}

interface Held {
  readonly client: HttpClient;
  readonly place: string;
  users: number;
}

/**
 * The client for the API server, made anew when its address or certificates change. What is under way on the one before
 * goes on to its end: a watch is not cut for a certificate that was renewed.
 */
export class Connections {
  readonly #options: ConnectionsOptions;
  readonly #all = new Set<Held>();
  #current: Held | undefined;
  #credentials: Credentials | undefined;
  #readAtMs = 0;
  #closed = false;

  constructor(options: ConnectionsOptions) {
    this.#options = options;
  }

  /** `fresh`: what we know was just refused. Throws a refusal where the credentials cannot be read. */
  async take(fresh: boolean): Promise<Connection> {
    const credentials = await this.#read(fresh);
    const place = JSON.stringify([credentials.server, credentials.tls]);
    if (this.#current?.place !== place) this.#replace(credentials, place);
    const held = this.#current;
    if (!held || this.#closed) throw new Error('the watch was ended');
    held.users += 1;
    let released = false;
    return {
      client: held.client,
      token: credentials.token,
      release: () => {
        if (released) return;
        released = true;
        held.users -= 1;
        this.#retire(held);
      },
    };
  }

  /** Ends everything that is open. */
  close(): void {
    this.#closed = true;
    for (const { client } of this.#all) client.close();
    this.#all.clear();
  }

  async #read(fresh: boolean): Promise<Credentials> {
    const { access, registry, clock, credentialsMs } = this.#options;
    const known = this.#credentials;
    if (known && !fresh && clock.now() - this.#readAtMs < credentialsMs) return known;
    this.#readAtMs = clock.now();
    try {
      return (this.#credentials = await readCredentials(access, registry));
    } catch (error) {
      // What we have still counts until the server says otherwise: a file may be away while it is replaced.
      if (!known || fresh) throw error;
      return known;
    }
  }

  #replace({ server, tls }: Credentials, place: string): void {
    const { registry, addressSetting, maxConnections, clock } = this.#options;
    const isTls = server.startsWith('https:');
    const client = new HttpClient({
      registry,
      addressSetting,
      endpoints: [server],
      tls: isTls ? tls : undefined,
      maxConnections,
      clock,
    });
    const before = this.#current;
    this.#current = { client, place, users: 0 };
    this.#all.add(this.#current);
    if (before) this.#retire(before);
  }

  #retire(held: Held): void {
    if (held === this.#current || held.users > 0) return;
    this.#all.delete(held);
    held.client.close();
  }
}
