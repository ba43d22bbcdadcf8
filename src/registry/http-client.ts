import * as http from 'node:http';
import * as https from 'node:https';
import type { Clock } from '../core/clock.ts';
import { DeadlinePassed } from './deadline.ts';
import { endpointName, parseEndpoint } from './endpoint.ts';
import { exchange, StaleConnection, type HttpRequest } from './http-exchange.ts';
import { TooLarge, type ResponseStream } from './http-stream.ts';
import { AllEndpointsFailed, explainNetworkError, RegistryUnreachable, type RegistryLabel } from './network-fault.ts';
import { checkTlsMaterial, tlsOptions, type TlsMaterial } from './tls-material.ts';

export interface HttpClientOptions extends RegistryLabel {
  /** Base addresses, `http://` or `https://`, tried in turn; a path of theirs goes before every request's. */
  readonly endpoints: readonly string[];
  readonly tls?: TlsMaterial | undefined;
  /** Sent with every request. */
  readonly headers?: Readonly<Record<string, string>> | undefined;
  /** Connections per endpoint; requests above it wait, within their `connectMs`. Default 16. */
  readonly maxConnections?: number | undefined;
  /** Answers that make the next endpoint worth a try. Default: every 5xx. */
  readonly isUnwell?: ((status: number) => boolean) | undefined;
  readonly clock: Clock;
}

export interface HttpReply {
  readonly status: number;
  /** By lower-case name; repeated fields are joined with commas. */
  header(name: string): string | undefined;
  readonly body: Buffer;
  /** Who answered: state that belongs to one server (a Consul index) ends when this changes. */
  readonly endpoint: string;
}

/**
 * HTTP/1.1 client for registry adapters: kept-alive connections, a deadline on every phase, bounded bodies, failover
 * between endpoints. Follows no redirects, and interprets no status beyond `isUnwell`.
 *
 * Failures are `RegistryUnreachable`, with a message for operators; an aborted signal throws its reason. One signal
 * shared by many requests at once needs `setMaxListeners(0, signal)`.
 */
export class HttpClient {
  readonly #options: HttpClientOptions;
  readonly #bases: readonly URL[];
  readonly #agent: http.Agent;
  readonly #secureAgent: https.Agent;
  #current = 0;

  /** Throws `RegistryUnreachable` where an endpoint is no http(s) URL, or the TLS material cannot be used. */
  constructor(options: HttpClientOptions) {
    this.#options = options;
    this.#bases = options.endpoints.map((endpoint) => parseEndpoint(endpoint, options));
    if (this.#bases.length === 0) throw new AllEndpointsFailed(options, []);
    checkTlsMaterial(options.tls, options, this.endpoint);
    const pool = { keepAlive: true, maxSockets: options.maxConnections ?? 16, maxFreeSockets: 8 };
    this.#agent = new http.Agent(pool);
    this.#secureAgent = new https.Agent({ ...pool, ...tlsOptions(options.tls) });
  }

  /** The endpoint that answered last; the first one before that. */
  get endpoint(): string {
    const base = this.#bases[this.#current];
    return base ? endpointName(base) : '';
  }

  /** The whole answer, whatever its status. */
  async request(request: HttpRequest, signal: AbortSignal): Promise<HttpReply> {
    const stream = await this.stream(request, signal);
    const body = await stream.body();
    return { status: stream.status, header: (name) => stream.header(name), body, endpoint: stream.endpoint };
  }

  /** Resolves when the head is there; read the body or close it. The signal goes on governing the body. */
  async stream(request: HttpRequest, signal: AbortSignal): Promise<ResponseStream> {
    const isUnwell = this.#options.isUnwell ?? ((status: number) => status >= 500);
    const failures: RegistryUnreachable[] = [];
    let unwell: ResponseStream | undefined;
    // Fixed for this round: another request may move `#current` meanwhile.
    const start = this.#current;
    for (let turn = 0; turn < this.#bases.length; turn += 1) {
      const at = (start + turn) % this.#bases.length;
      try {
        const stream = await this.#attempt(at, request, signal);
        unwell?.close();
        unwell = stream;
        if (isUnwell(stream.status)) continue;
        this.#current = at;
        return stream;
      } catch (error) {
        if (!(error instanceof RegistryUnreachable)) {
          unwell?.close();
          throw error;
        }
        failures.push(error);
      }
    }
    // A server that answered 503 tells more than another that did not answer.
    if (unwell) return unwell;
    const [first] = failures;
    throw first && failures.length === 1 ? first : new AllEndpointsFailed(this.#options, failures);
  }

  /** Ends every connection, busy or idle. */
  close(): void {
    this.#agent.destroy();
    this.#secureAgent.destroy();
  }

  async #attempt(at: number, request: HttpRequest, signal: AbortSignal): Promise<ResponseStream> {
    signal.throwIfAborted();
    const base = this.#bases[at];
    if (!base) throw new AllEndpointsFailed(this.#options, []);
    const url = join(base, request.path);
    const endpoint = endpointName(base);
    const plan = {
      url,
      endpoint,
      headers: this.#options.headers ?? {},
      agent: url.protocol === 'https:' ? this.#secureAgent : this.#agent,
      tls: {},
      clock: this.#options.clock,
      explain: (cause: unknown) => this.#explain(endpoint, cause),
    };
    try {
      return await exchange(plan, request, signal);
    } catch (error) {
      if (!(error instanceof StaleConnection)) throw error;
      return exchange({ ...plan, agent: false, tls: tlsOptions(this.#options.tls) }, request, signal);
    }
  }

  #explain(endpoint: string, cause: unknown): RegistryUnreachable {
    if (cause instanceof DeadlinePassed) {
      const text = `${cause.message}: it hangs or is cut off; if it never answers, check registries[].${this.#options.addressSetting}`;
      return new RegistryUnreachable(this.#options, endpoint, { fault: 'timeout', text }, cause);
    }
    if (cause instanceof TooLarge) {
      return new RegistryUnreachable(this.#options, endpoint, { fault: 'too-large', text: cause.message }, cause);
    }
    return new RegistryUnreachable(
      this.#options,
      endpoint,
      explainNetworkError(cause, this.#options, endpoint.startsWith('https:')),
      cause,
    );
  }
}

/** Parses a JSON body. Throws with its first characters where it is none: a proxy's HTML page, for one. */
export function parseJson(reply: Pick<HttpReply, 'body' | 'endpoint'>, label: RegistryLabel): unknown {
  try {
    return JSON.parse(reply.body.toString('utf8')) as unknown;
  } catch (error) {
    const start = JSON.stringify(reply.body.toString('latin1', 0, 60));
    const text = `answered something that is not JSON, beginning ${start}; check registries[].${label.addressSetting}`;
    throw new RegistryUnreachable(label, reply.endpoint, { fault: 'protocol', text }, error);
  }
}

function join(base: URL, path: string): URL {
  const url = new URL(base);
  const query = path.indexOf('?');
  // Set piece by piece: resolved as a reference, a path that begins with `//` would name another host.
  url.pathname = base.pathname.replace(/\/$/, '') + (query < 0 ? path : path.slice(0, query));
  url.search = query < 0 ? '' : path.slice(query);
  return url;
}
