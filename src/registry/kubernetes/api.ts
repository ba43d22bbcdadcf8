import { z } from 'zod';
import type { Clock } from '../../core/clock.ts';
import type { HttpRequest } from '../http-exchange.ts';
import type { ResponseStream } from '../http-stream.ts';
import { RegistryUnreachable, type RegistryLabel } from '../network-fault.ts';
import { quote } from '../record.ts';
import { Connections, type Connection } from './connection.ts';
import { SERVICE_ACCOUNT_FOLDER, type ClusterAccess } from './credentials.ts';
import { readMetadata } from './slice.ts';
import { errorOf, readStatus, type ApiStatus, type VerdictContext } from './verdict.ts';

export interface KubernetesApiOptions extends RegistryLabel {
  readonly access: ClusterAccess;
  readonly credentialsMs: number;
  readonly connectMs: number;
  readonly requestMs: number;
  /** Longest silence of a watch. */
  readonly idleMs: number;
  readonly maxConnections: number;
  readonly clock: Clock;
}

export interface Scope {
  readonly namespace: string;
  readonly labelSelector: string;
}

export interface ListPage {
  readonly items: readonly unknown[];
  /** Of the list as a whole: the same on all its pages. */
  readonly resourceVersion: string;
  /** Empty on the last page. */
  readonly continueToken: string;
}

export type SliceEvent =
  | { readonly kind: 'put' | 'delete'; readonly object: unknown; readonly resourceVersion: string | undefined }
  /** Nothing new up to this revision. */
  | { readonly kind: 'bookmark'; readonly resourceVersion: string };

export type SliceEvents = AsyncGenerator<SliceEvent, void, undefined>;

const MAX_PAGE_BYTES = 134_217_728;
/** One event. An object of the API is at most 1.5 MiB in etcd; as JSON it is larger. */
const MAX_LINE_BYTES = 16_777_216;

const pageSchema = z.object({
  metadata: z.object({ resourceVersion: z.string().min(1).max(64), continue: z.string().nullish() }),
  items: z.array(z.unknown()).nullish(),
});
const eventSchema = z.object({ type: z.string(), object: z.unknown() });

/**
 * The calls of the API server that are needed: list and watch of EndpointSlices. Throws a refusal, a loss with its
 * reason, or `Expired`; an aborted signal throws its reason.
 */
export class KubernetesApi {
  readonly #options: KubernetesApiOptions;
  readonly #connections: Connections;
  #endpoint: string | undefined;

  constructor(options: KubernetesApiOptions) {
    this.#options = options;
    this.#connections = new Connections(options);
  }

  /** Undefined until the first request. */
  get endpoint(): string | undefined {
    return this.#endpoint;
  }

  /** One page; from a quorum, since no revision is asked for. `limit` 0 = everything at once. */
  async list(scope: Scope, limit: number, continueToken: string, signal: AbortSignal): Promise<ListPage> {
    const query = [['labelSelector', scope.labelSelector]];
    if (limit > 0) query.push(['limit', String(limit)]);
    if (continueToken !== '') query.push(['continue', continueToken]);
    const { requestMs } = this.#options;
    const request = { path: pathOf(scope, query), idleMs: requestMs, maxBodyBytes: MAX_PAGE_BYTES };
    const { stream, connection } = await this.#open(request, scope, signal);
    try {
      const text = (await this.#explained(stream.body())).toString('utf8');
      const parsed = pageSchema.safeParse(this.#json(text));
      if (!parsed.success) throw this.#malformed('a list of EndpointSlices', text);
      const { metadata, items } = parsed.data;
      return {
        items: items ?? [],
        resourceVersion: metadata.resourceVersion,
        continueToken: metadata.continue ?? '',
      };
    } finally {
      connection.release();
    }
  }

  /**
   * Everything after the revision. Resolves when the server has accepted the watch; the iteration ends when the server
   * ends it, which it does after `timeoutS` at the latest. Silence for `idleMs` throws a loss by `timeout`.
   */
  async watch(scope: Scope, resourceVersion: string, timeoutS: number, signal: AbortSignal): Promise<SliceEvents> {
    const path = pathOf(scope, [
      ['labelSelector', scope.labelSelector],
      ['watch', '1'],
      ['resourceVersion', resourceVersion],
      ['allowWatchBookmarks', 'true'],
      ['timeoutSeconds', String(timeoutS)],
    ]);
    const { idleMs } = this.#options;
    const { stream, connection } = await this.#open({ path, idleMs, maxBodyBytes: MAX_LINE_BYTES }, scope, signal);
    return this.#events(stream, connection, scope);
  }

  /** Ends everything that is under way. */
  close(): void {
    this.#connections.close();
  }

  /** A loss in our own words. */
  lost(text: string): RegistryUnreachable {
    return new RegistryUnreachable(this.#options, this.#endpoint ?? '', { fault: 'unwell', text });
  }

  async *#events(stream: ResponseStream, connection: Connection, scope: Scope): SliceEvents {
    try {
      for await (const line of stream.lines()) {
        const parsed = eventSchema.safeParse(this.#json(line));
        if (!parsed.success) throw this.#malformed('a watch', line);
        const { type, object } = parsed.data;
        const resourceVersion = readRevision(object);
        switch (type) {
          case 'ADDED':
          case 'MODIFIED':
            yield { kind: 'put', object, resourceVersion };
            break;
          case 'DELETED':
            yield { kind: 'delete', object, resourceVersion };
            break;
          case 'BOOKMARK':
            if (resourceVersion === undefined) throw this.#malformed('a bookmark', line);
            yield { kind: 'bookmark', resourceVersion };
            break;
          case 'ERROR':
            throw errorOf(readStatus(object, 500), this.#context(scope));
          default:
            throw this.#malformed('a watch', line);
        }
      }
    } catch (error) {
      throw this.#rephrase(error);
    } finally {
      stream.close();
      connection.release();
    }
  }

  /** A 200 whose body is still to be read. A 401 is answered with credentials read anew, once. */
  async #open(
    request: HttpRequest,
    scope: Scope,
    signal: AbortSignal,
  ): Promise<{ readonly stream: ResponseStream; readonly connection: Connection }> {
    for (let attempt = 1; ; attempt += 1) {
      const connection = await this.#connections.take(attempt > 1).catch((error: unknown) => {
        throw this.#rephrase(error);
      });
      this.#endpoint = connection.client.endpoint;
      try {
        const { token, client } = connection;
        const { connectMs, requestMs } = this.#options;
        const headers = token === undefined ? {} : { authorization: `Bearer ${token}` };
        const stream = await client.stream({ ...request, headers, connectMs, headMs: requestMs }, signal);
        if (stream.status === 200) return { stream, connection };
        const status = await this.#status(stream);
        if (stream.status === 401 && attempt === 1) {
          connection.release();
          continue;
        }
        throw errorOf(status, this.#context(scope));
      } catch (error) {
        connection.release();
        throw this.#rephrase(error);
      }
    }
  }

  async #status(stream: ResponseStream): Promise<ApiStatus> {
    const text = (await stream.body()).toString('utf8');
    try {
      return readStatus(JSON.parse(text), stream.status);
    } catch (error) {
      // Whatever stands in front of the API server may answer in plain text or HTML.
      if (!(error instanceof SyntaxError)) throw error;
      return { code: stream.status, message: quote(text.trim()) };
    }
  }

  #context({ namespace }: Scope): VerdictContext {
    const { registry, addressSetting, access } = this.#options;
    const identity =
      access.kind === 'in-cluster'
        ? `the service account of this pod (${access.folder ?? SERVICE_ACCOUNT_FOLDER}/token)`
        : `the user in ${access.file} (registries[].kubeconfig)`;
    return { registry, addressSetting, endpoint: this.#endpoint ?? '', namespace, identity };
  }

  async #explained<T>(result: Promise<T>): Promise<T> {
    return result.catch((error: unknown) => {
      throw this.#rephrase(error);
    });
  }

  /** The general advice names TLS settings that this registry does not have: its certificates are in the kubeconfig. */
  #rephrase(error: unknown): unknown {
    if (!(error instanceof RegistryUnreachable) || error.fault !== 'certificate') return error;
    const { access } = this.#options;
    const cause = error.cause instanceof Error ? error.cause.message : 'no further explanation';
    const where =
      access.kind === 'in-cluster'
        ? `${access.folder ?? SERVICE_ACCOUNT_FOLDER}/ca.crt`
        : `certificate-authority, tls-server-name, client-certificate and client-key in ${access.file} (registries[].kubeconfig)`;
    const text = `the certificates do not fit (${cause}); check ${where}`;
    return new RegistryUnreachable(this.#options, error.endpoint, { fault: error.fault, text }, error.cause);
  }

  #json(text: string): unknown {
    try {
      return JSON.parse(text) as unknown;
    } catch (error) {
      throw this.#malformed('its API', text, error);
    }
  }

  #malformed(what: string, text: string, cause?: unknown): RegistryUnreachable {
    const begins = `beginning ${JSON.stringify(text.slice(0, 60))}`;
    const why = `answered ${what} with something else than an API server would, ${begins}; check registries[].${this.#options.addressSetting}`;
    return new RegistryUnreachable(this.#options, this.#endpoint ?? '', { fault: 'protocol', text: why }, cause);
  }
}

function pathOf({ namespace }: Scope, query: readonly (readonly string[])[]): string {
  const terms = query.map(([key = '', value = '']) => `${key}=${encodeURIComponent(value)}`);
  const path = `/apis/discovery.k8s.io/v1/namespaces/${encodeURIComponent(namespace)}/endpointslices`;
  return `${path}?${terms.join('&')}`;
}

const revisionSchema = z.object({ metadata: z.object({ resourceVersion: z.string().min(1).max(64) }) });

/** A bookmark has no other metadata than this. */
function readRevision(object: unknown): string | undefined {
  const parsed = revisionSchema.safeParse(object);
  return parsed.success ? parsed.data.metadata.resourceVersion : (readMetadata(object)?.resourceVersion ?? undefined);
}
