import { once } from 'node:events';
import * as http from 'node:http';
import * as https from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import type { Certificate } from './certificates.ts';

export interface SliceObject {
  readonly metadata: {
    readonly name: string;
    readonly namespace: string;
    readonly labels: Readonly<Record<string, string>>;
    readonly resourceVersion?: string;
  };
  readonly addressType?: string;
  readonly endpoints?: readonly unknown[] | null;
  readonly ports?: readonly unknown[] | null;
}

export interface WatchCall {
  readonly namespace: string;
  readonly query: URLSearchParams;
}

interface Change {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED';
  readonly revision: number;
  readonly object: SliceObject;
  readonly before: SliceObject | undefined;
}

interface Watcher {
  readonly namespace: string;
  readonly matches: (object: SliceObject) => boolean;
  readonly bookmarks: boolean;
  readonly response: http.ServerResponse;
  readonly timers: NodeJS.Timeout[];
}

export interface FakeKubernetesPlan {
  readonly certificate?: Certificate;
  /** A client has to show a certificate of this authority. */
  readonly clientCa?: string;
}

/**
 * The list and watch of EndpointSlices as an API server does them, over real sockets: one revision for everything, pages
 * that hold at the revision of the first one, a watch cache that forgets, label selectors, bookmarks, Status objects.
 */
export class FakeKubernetes {
  /** Who is let in; undefined = everybody. */
  tokens: Set<string> | undefined;
  /** Namespaces that may be read; undefined = all. */
  allowed: Set<string> | undefined;
  bookmarkMs = 60_000;
  /** Called in place of answering; true = it did. */
  intercept: (request: http.IncomingMessage, response: http.ServerResponse) => boolean = () => false;
  readonly lists: WatchCall[] = [];
  readonly watches: WatchCall[] = [];
  readonly seenTokens: (string | undefined)[] = [];
  readonly #server: http.Server;
  readonly #secure: boolean;
  readonly #sockets = new Set<Socket>();
  readonly #watchers = new Set<Watcher>();
  #objects = new Map<string, SliceObject>();
  /** What lists looked like at the revisions that tokens to continue were given for. */
  #snapshots = new Map<number, readonly SliceObject[]>();
  #history: Change[] = [];
  #revision = 1000;
  /** Revisions up to this one are forgotten. */
  #compacted = 0;
  #port = 0;

  private constructor(plan: FakeKubernetesPlan) {
    const handler = (request: http.IncomingMessage, response: http.ServerResponse): void => {
      response.on('error', () => response.destroy());
      if (!this.intercept(request, response)) this.#serve(request, response);
    };
    const { certificate, clientCa } = plan;
    this.#secure = certificate !== undefined;
    this.#server = certificate
      ? https.createServer(
          {
            cert: certificate.cert,
            key: certificate.key,
            ...(clientCa === undefined ? {} : { ca: clientCa, requestCert: true, rejectUnauthorized: true }),
          },
          handler,
        )
      : http.createServer(handler);
    this.#server.on('connection', (socket: Socket) => {
      this.#sockets.add(socket);
      socket.on('close', () => this.#sockets.delete(socket));
      socket.on('error', () => socket.destroy());
    });
  }

  static async start(plan: FakeKubernetesPlan = {}): Promise<FakeKubernetes> {
    const made = new FakeKubernetes(plan);
    await made.listen();
    return made;
  }

  get port(): number {
    return this.#port;
  }

  get url(): string {
    return `${this.#secure ? 'https' : 'http'}://127.0.0.1:${this.#port}`;
  }

  get revision(): number {
    return this.#revision;
  }

  get watching(): number {
    return this.#watchers.size;
  }

  /** At the port of before, where there was one. */
  async listen(): Promise<void> {
    this.#server.listen(this.#port, '127.0.0.1');
    await once(this.#server, 'listening');
    this.#port = (this.#server.address() as AddressInfo).port;
  }

  /** Connections are refused, and those there are broken. What is stored stays. */
  async stop(): Promise<void> {
    const closed = once(this.#server, 'close');
    this.#server.close();
    this.breakConnections();
    await closed;
  }

  breakConnections(): void {
    for (const watcher of [...this.#watchers]) this.#drop(watcher);
    for (const socket of this.#sockets) socket.destroy();
  }

  /** etcd behind it is replaced by an empty one. */
  async restartEmpty(): Promise<void> {
    await this.stop();
    this.#objects = new Map();
    this.#snapshots.clear();
    this.#history = [];
    this.#revision = 1;
    this.#compacted = 0;
    await this.listen();
  }

  apply(object: SliceObject): void {
    const key = keyOf(object);
    const before = this.#objects.get(key);
    this.#revision += 1;
    const stored = {
      ...object,
      metadata: { ...object.metadata, resourceVersion: String(this.#revision) },
    };
    this.#objects.set(key, stored);
    this.#record({ type: before ? 'MODIFIED' : 'ADDED', revision: this.#revision, object: stored, before });
  }

  delete(namespace: string, name: string): void {
    const before = this.#objects.get(`${namespace}/${name}`);
    if (!before) return;
    this.#objects.delete(`${namespace}/${name}`);
    this.#revision += 1;
    // The last state, at the revision of the deletion.
    const object = { ...before, metadata: { ...before.metadata, resourceVersion: String(this.#revision) } };
    this.#record({ type: 'DELETED', revision: this.#revision, object, before });
  }

  get(namespace: string, name: string): SliceObject | undefined {
    return this.#objects.get(`${namespace}/${name}`);
  }

  /** The history and all tokens to continue are gone, as after five minutes. */
  compact(): void {
    this.#compacted = this.#revision;
    this.#history = [];
    this.#snapshots.clear();
  }

  /** Revisions go up without anything happening to slices, as other objects change. */
  skipRevisions(count: number): void {
    this.#revision += count;
  }

  /** Writes an event into every watch. */
  inject(event: unknown): void {
    const line = typeof event === 'string' ? event : `${JSON.stringify(event)}\n`;
    for (const { response } of this.#watchers) response.write(line);
  }

  bookmark(): void {
    for (const watcher of this.#watchers) this.#bookmark(watcher);
  }

  /** Ends every watch in good order, as its timeout does. */
  endWatches(): void {
    for (const watcher of [...this.#watchers]) this.#end(watcher);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#server.listening) await this.stop();
  }

  #serve(request: http.IncomingMessage, response: http.ServerResponse): void {
    const url = new URL(request.url ?? '/', 'http://any');
    const token = /^Bearer (.+)$/.exec(request.headers.authorization ?? '')?.[1];
    this.seenTokens.push(token);
    const namespace = /^\/apis\/discovery\.k8s\.io\/v1\/namespaces\/([^/]+)\/endpointslices$/.exec(url.pathname)?.[1];
    if (this.tokens && (token === undefined || !this.tokens.has(token))) {
      sendStatus(response, 401, 'Unauthorized', 'Unauthorized');
      return;
    }
    if (namespace === undefined) {
      sendStatus(response, 404, 'NotFound', 'the server could not find the requested resource');
      return;
    }
    const verb = url.searchParams.get('watch') === '1' ? 'watch' : 'list';
    if (this.allowed && !this.allowed.has(namespace)) {
      const message = `endpointslices.discovery.k8s.io is forbidden: User "system:serviceaccount:default:gateway" cannot ${verb} resource "endpointslices" in API group "discovery.k8s.io" in the namespace "${namespace}"`;
      sendStatus(response, 403, 'Forbidden', message);
      return;
    }
    const matches = parseSelector(url.searchParams.get('labelSelector') ?? '');
    if (!matches) {
      sendStatus(response, 400, 'BadRequest', 'unable to parse requirement: found nonsense');
      return;
    }
    const call = { namespace, query: url.searchParams };
    if (verb === 'watch') {
      this.watches.push(call);
      this.#watch(call, matches, response);
    } else {
      this.lists.push(call);
      this.#list(call, matches, response);
    }
  }

  #list({ namespace, query }: WatchCall, matches: Watcher['matches'], response: http.ServerResponse): void {
    const token = query.get('continue');
    const limit = Number(query.get('limit') ?? '0');
    let [revision, start] = [this.#revision, 0];
    if (token !== null) {
      const parts = JSON.parse(Buffer.from(token, 'base64url').toString()) as { rv: number; start: number };
      [revision, start] = [parts.rv, parts.start];
      if (!this.#snapshots.has(revision)) {
        const message = 'The provided continue parameter is too old to display a consistent list result.';
        sendStatus(response, 410, 'Expired', message);
        return;
      }
    }
    const snapshot = token === null ? [...this.#objects.values()] : (this.#snapshots.get(revision) ?? []);
    const found = snapshot.filter((each) => each.metadata.namespace === namespace && matches(each));
    const items = limit > 0 ? found.slice(start, start + limit) : found;
    const next = start + items.length;
    const metadata: Record<string, unknown> = { resourceVersion: String(revision) };
    if (limit > 0 && next < found.length) {
      this.#snapshots.set(revision, snapshot);
      metadata['continue'] = Buffer.from(JSON.stringify({ rv: revision, start: next })).toString('base64url');
      metadata['remainingItemCount'] = found.length - next;
    }
    const body = { kind: 'EndpointSliceList', apiVersion: 'discovery.k8s.io/v1', metadata, items };
    response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(body));
  }

  #watch({ namespace, query }: WatchCall, matches: Watcher['matches'], response: http.ServerResponse): void {
    const since = Number(query.get('resourceVersion'));
    const bookmarks = query.get('allowWatchBookmarks') === 'true';
    response.writeHead(200, { 'content-type': 'application/json', 'transfer-encoding': 'chunked' });
    response.flushHeaders();
    const watcher: Watcher = { namespace, matches, bookmarks, response, timers: [] };
    this.#watchers.add(watcher);
    response.on('close', () => this.#drop(watcher));
    // What is wrong with the revision is told inside the 200, as the watch cache does.
    if (since < this.#compacted) {
      const message = `too old resource version: ${since} (${this.#compacted})`;
      this.#fail(watcher, statusOf(410, 'Expired', message));
      return;
    }
    if (since > this.#revision) {
      const message = `Too large resource version: ${since}, current: ${this.#revision}`;
      this.#fail(watcher, statusOf(504, 'Timeout', message));
      return;
    }
    for (const change of this.#history) if (change.revision > since) send(watcher, change);
    const timeoutS = Number(query.get('timeoutSeconds') ?? '1800');
    watcher.timers.push(setTimeout(() => this.#end(watcher), timeoutS * 1000));
    watcher.timers.push(setInterval(() => this.#bookmark(watcher), this.bookmarkMs));
  }

  #record(change: Change): void {
    this.#history.push(change);
    for (const watcher of this.#watchers) send(watcher, change);
  }

  #bookmark({ bookmarks, response }: Watcher): void {
    if (!bookmarks) return;
    const metadata = { resourceVersion: String(this.#revision), creationTimestamp: null };
    const object = { kind: 'EndpointSlice', apiVersion: 'discovery.k8s.io/v1', metadata, endpoints: null, ports: null };
    response.write(`${JSON.stringify({ type: 'BOOKMARK', object })}\n`);
  }

  #fail(watcher: Watcher, status: unknown): void {
    watcher.response.write(`${JSON.stringify({ type: 'ERROR', object: status })}\n`);
    this.#end(watcher);
  }

  #end(watcher: Watcher): void {
    watcher.response.end();
    this.#drop(watcher);
  }

  #drop(watcher: Watcher): void {
    for (const timer of watcher.timers) clearTimeout(timer);
    this.#watchers.delete(watcher);
  }
}

function send({ namespace, matches, response }: Watcher, { type, object, before }: Change): void {
  if (object.metadata.namespace !== namespace) return;
  // An object that stops matching the selector is deleted as far as this watch is concerned, and the reverse.
  const [is, was] = [type !== 'DELETED' && matches(object), before !== undefined && matches(before)];
  const seen = is ? (was ? 'MODIFIED' : 'ADDED') : was ? 'DELETED' : undefined;
  if (seen !== undefined) response.write(`${JSON.stringify({ type: seen, object })}\n`);
}

export function statusOf(code: number, reason: string, message: string): unknown {
  return { kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Failure', message, reason, code };
}

export function sendStatus(response: http.ServerResponse, code: number, reason: string, message: string): void {
  response.writeHead(code, { 'content-type': 'application/json' }).end(JSON.stringify(statusOf(code, reason, message)));
}

function keyOf({ metadata }: SliceObject): string {
  return `${metadata.namespace}/${metadata.name}`;
}

/** `key`, `!key`, `key=value`, `key!=value` and `key in (a,b)`, joined by commas. */
function parseSelector(text: string): ((object: SliceObject) => boolean) | undefined {
  const terms = text.match(/(?:[^,(]|\([^)]*\))+/g) ?? [];
  const tests: ((labels: Readonly<Record<string, string>>) => boolean)[] = [];
  for (const term of terms.map((each) => each.trim())) {
    const parsed = /^(!?)([A-Za-z0-9./_-]+)(?:\s*(=|==|!=)\s*([A-Za-z0-9._-]*)|\s+in\s+\(([^)]*)\))?$/.exec(term);
    if (!parsed) return undefined;
    const [, not, key = '', operator, value = '', list] = parsed;
    const values = list?.split(',').map((each) => each.trim());
    tests.push((labels) => {
      const label = labels[key];
      if (not === '!') return label === undefined;
      if (values) return label !== undefined && values.includes(label);
      if (operator === undefined) return label !== undefined;
      return operator === '!=' ? label !== value : label === value;
    });
  }
  return (object) => tests.every((test) => test(object.metadata.labels));
}
