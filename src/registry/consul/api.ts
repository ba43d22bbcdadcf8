import type { Clock } from '../../core/clock.ts';
import { HttpClient, parseJson, type HttpReply } from '../http-client.ts';
import { RegistryUnreachable, type RegistryLabel } from '../network-fault.ts';
import type { TlsMaterial } from '../tls-material.ts';
import { checkEmpty, errorOf, GRANT, readAnswer, refusal, type Answer } from './answer.ts';

/** What to ask for, as the operator configured it. */
export interface ConsulScope {
  readonly token: string | undefined;
  readonly datacenter: string | undefined;
  readonly namespace: string | undefined;
  readonly partition: string | undefined;
  /** An instance must carry all of them. */
  readonly tags: readonly string[];
  /** Consul's own filter expressions. */
  readonly filter: string | undefined;
  /** Of waiting reads. Empty answers are always confirmed by a consistent one. */
  readonly consistency: 'default' | 'stale' | 'consistent';
}

export interface ConsulApiOptions extends RegistryLabel, ConsulScope {
  readonly addresses: readonly string[];
  readonly tls: TlsMaterial | undefined;
  readonly maxConnections: number;
  readonly connectMs: number;
  readonly requestMs: number;
  readonly clock: Clock;
}

/** Wait for a change beyond `index`, at most so long. Index 0 does not wait. */
export interface Wait {
  readonly index: bigint;
  readonly waitMs: number;
}

export const NO_WAIT: Wait = { index: 0n, waitMs: 0 };

/** The calls of Consul's HTTP API that are needed, each with its deadline, over kept-alive connections. */
export class ConsulApi {
  readonly #options: ConsulApiOptions;
  readonly #http: HttpClient;
  /** Since Consul 1.7 it can be asked what a token may do. false: it cannot, or access control is off. */
  #canAuthorize = true;

  constructor(options: ConsulApiOptions) {
    this.#options = options;
    const { registry, addressSetting, resetHint, addresses, tls, maxConnections, token, clock } = options;
    const headers = token === undefined ? {} : { 'x-consul-token': token };
    this.#http = new HttpClient({
      registry,
      addressSetting,
      resetHint,
      endpoints: addresses,
      tls,
      headers,
      maxConnections,
      clock,
    });
  }

  get endpoint(): string {
    return this.#http.endpoint;
  }

  /**
   * `/v1/health/service/:name`, with all checks. An empty answer is one that a leader confirmed, after it made sure that
   * it still leads, and of which nothing says that our token hides something: the plain one can be empty around an
   * election. `confirmEmpty` false: it was confirmed before.
   */
  async health(name: string, wait: Wait, confirmEmpty: boolean, signal: AbortSignal): Promise<Answer> {
    const { tags, filter } = this.#options;
    const query = [
      ...tags.map((tag) => ['tag', tag] as const),
      ...(filter === undefined ? [] : [['filter', filter] as const]),
    ];
    const path = `/v1/health/service/${encodeURIComponent(name)}`;
    const first = await this.#read(path, query, wait, signal);
    if (!isEmpty(first.body) || !confirmEmpty) return first;
    const sure = await this.#read(path, query, 'consistent', signal);
    if (isEmpty(sure.body)) await this.#checkPermission(name, signal);
    return sure;
  }

  /** `/v1/catalog/services`: every name with its tags. */
  async services(wait: Wait, signal: AbortSignal): Promise<Answer & { readonly body: ReadonlyMap<string, unknown> }> {
    const path = '/v1/catalog/services';
    let answer = await this.#read(path, [], wait, signal);
    if (isEmpty(answer.body)) answer = await this.#read(path, [], 'consistent', signal);
    const { body } = answer;
    if (typeof body !== 'object' || body === null || Array.isArray(body)) throw this.malformed(answer.endpoint, path);
    const names = new Map(Object.entries(body as Record<string, unknown>));
    if (names.size === 0) await this.#checkCatalogPermission(answer, signal);
    return { ...answer, body: names };
  }

  /** Address of the leader's RPC port; undefined = there is none just now. */
  async leader(signal: AbortSignal): Promise<string | undefined> {
    const reply = await this.#get('/v1/status/leader', this.#options.requestMs, signal);
    if (reply.status !== 200) throw errorOf(reply, this.#options);
    const leader = parseJson(reply, this.#options);
    return typeof leader === 'string' && leader !== '' ? leader : undefined;
  }

  close(): void {
    this.#http.close();
  }

  /** The error for a body that has another shape than the API's. */
  malformed(endpoint: string, what: string): RegistryUnreachable {
    const text = `answered ${what} with something else than Consul would; check registries[].${this.#options.addressSetting}`;
    return new RegistryUnreachable(this.#options, endpoint, { fault: 'protocol', text });
  }

  async #read(
    path: string,
    query: readonly (readonly [string, string])[],
    how: Wait | 'consistent',
    signal: AbortSignal,
  ): Promise<Answer> {
    const wait = how === 'consistent' ? NO_WAIT : how;
    const consistency = how === 'consistent' ? how : this.#options.consistency;
    const { datacenter, namespace, partition, requestMs } = this.#options;
    const scope = [['dc', datacenter] as const, ['ns', namespace] as const, ['partition', partition] as const];
    const waiting =
      wait.index > 0n
        ? [
            ['index', String(wait.index)],
            ['wait', `${Math.round(wait.waitMs)}ms`],
          ]
        : [];
    const pairs = [...query, ...scope.filter((pair) => pair[1] !== undefined), ...waiting];
    const terms = pairs.map(([key = '', value = '']) => `${key}=${encodeURIComponent(value)}`);
    if (consistency !== 'default') terms.push(consistency);
    const target = terms.length === 0 ? path : `${path}?${terms.join('&')}`;
    // Consul adds up to a sixteenth to the wait, so that waiters do not come back all at once.
    const headMs = wait.index > 0n ? (wait.waitMs * 17) / 16 + 10_000 : requestMs;
    const reply = await this.#get(target, headMs, signal);
    const answer = readAnswer(reply, this.#options);
    if (how === 'consistent' && isEmpty(answer.body)) checkEmpty(reply, this.#options);
    return answer;
  }

  #get(path: string, headMs: number, signal: AbortSignal): Promise<HttpReply> {
    const { connectMs, requestMs } = this.#options;
    return this.#http.request({ path, connectMs, headMs, idleMs: requestMs }, signal);
  }

  /**
   * Consul leaves out what a token may not read, and before 1.11 does not say so: an answer is then as empty as that of a
   * service that is gone. Throws a refusal where Consul says that we may not read what we found empty.
   */
  async #checkPermission(service: string, signal: AbortSignal): Promise<void> {
    const allowed = await this.#allowed([service], signal);
    if (!allowed) return;
    if (allowed.services[0] === false) throw this.#refuse(`hides service ${service} from us. ${GRANT}`);
    if (allowed.anyNode) return;
    // Permission for single nodes cannot be asked about without their names. But the catalog lists services without
    // regard to nodes: one that is in there, and yet has no instance, is on nodes that are hidden.
    const { tags, filter } = this.#options;
    const catalog = await this.#read('/v1/catalog/services', [], 'consistent', signal);
    const listed = typeof catalog.body === 'object' && catalog.body !== null && Object.hasOwn(catalog.body, service);
    if (listed && tags.length === 0 && filter === undefined) {
      throw this.#refuse(`lists service ${service}, but hides its nodes from us. ${GRANT}`);
    }
  }

  /** An empty catalog: with nothing at all not even Consul's own service is in it. */
  async #checkCatalogPermission(answer: Answer, signal: AbortSignal): Promise<void> {
    const { namespace, partition, token } = this.#options;
    const allowed = await this.#allowed(['consul'], signal);
    if (allowed?.services[0] === false) {
      // A token for some services only: there may really be none of them.
      if (token !== undefined) return;
      throw this.#refuse(`shows us no service at all without a token: set registries[].token. ${GRANT}`);
    }
    const isDefault = (name: string | undefined): boolean => name === undefined || name === 'default';
    if (!isDefault(namespace) || !isDefault(partition)) return;
    const text = 'has an empty catalog, without even its own service: it has only just started. Not believed';
    throw new RegistryUnreachable(this.#options, answer.endpoint, { fault: 'unwell', text });
  }

  /** What the token may read; undefined where Consul cannot say, or access control is off. */
  async #allowed(
    services: readonly string[],
    signal: AbortSignal,
  ): Promise<{ readonly services: readonly boolean[]; readonly anyNode: boolean } | undefined> {
    if (!this.#canAuthorize) return undefined;
    const { datacenter, connectMs, requestMs } = this.#options;
    const asked = [
      ...services.map((Segment) => ({ Resource: 'service', Access: 'read', Segment })),
      { Resource: 'node', Access: 'read', Segment: '' },
    ];
    const query = datacenter === undefined ? '' : `?dc=${encodeURIComponent(datacenter)}`;
    const path = `/v1/internal/acl/authorize${query}`;
    const request = { method: 'POST', path, body: JSON.stringify(asked), connectMs, headMs: requestMs } as const;
    const reply = await this.#http.request(request, signal);
    if (reply.status === 403) throw errorOf(reply, this.#options);
    if (reply.status >= 500) throw errorOf(reply, this.#options);
    const body = reply.status === 200 ? parseJson(reply, this.#options) : undefined;
    if (!Array.isArray(body) || body.length !== asked.length) {
      this.#canAuthorize = false;
      return undefined;
    }
    const verdicts = body.map((each: unknown) => (each as { Allow?: unknown } | null)?.Allow === true);
    return { services: verdicts.slice(0, -1), anyNode: verdicts.at(-1) === true };
  }

  #refuse(text: string): Error {
    return refusal({ endpoint: this.endpoint }, this.#options, text);
  }
}

function isEmpty(body: unknown): boolean {
  return typeof body === 'object' && body !== null && Object.keys(body).length === 0;
}
