import http from 'node:http';
import { Duplex } from 'node:stream';

/** A message as Node's own parser reads it. */
export interface NodeMessage {
  /** Request: method and target. Response: status. */
  readonly line: string;
  readonly version: string;
  readonly fields: readonly (readonly [name: string, value: string])[];
  body: string;
  complete: boolean;
}

export interface NodeView {
  readonly messages: readonly NodeMessage[];
  /** Why it went no further: a code of its parser. */
  error: string | undefined;
}

/** A connection that says what it is told to, and swallows what it is sent. */
class Line extends Duplex {
  override _read(): void {
    // Everything is pushed at once.
  }
  override _write(_chunk: unknown, _encoding: unknown, done: () => void): void {
    done();
  }
  // What node:http asks of a socket.
  setTimeout(): this {
    return this;
  }
  setNoDelay(): this {
    return this;
  }
  setKeepAlive(): this {
    return this;
  }
}

function pairs(raw: readonly string[]): [string, string][] {
  return Array.from({ length: raw.length / 2 }, (_, i) => [raw[2 * i] as string, raw[2 * i + 1] as string]);
}

function follow(message: http.IncomingMessage, line: string): NodeMessage {
  const seen: NodeMessage = {
    line,
    version: message.httpVersion,
    fields: pairs(message.rawHeaders),
    body: '',
    complete: false,
  };
  message.on('data', (bytes: Buffer) => (seen.body += bytes.toString('latin1')));
  message.on('end', () => (seen.complete = message.complete));
  // A message that breaks off says so here; that it is not complete is what counts.
  message.on('error', () => undefined);
  return seen;
}

interface Case {
  readonly messages: NodeMessage[];
  error: string | undefined;
}

const cases = new WeakMap<object, Case>();
const STRICT = { insecureHTTPParser: false, maxHeaderSize: 131_072 } as const;

const server = http.createServer({ ...STRICT, requireHostHeader: true });
// Requests are left unanswered: an answer could end the connection before all of it is read.
server.on('request', (request: http.IncomingMessage) => {
  cases.get(request.socket)?.messages.push(follow(request, `${request.method ?? ''} ${request.url ?? ''}`));
});
server.on('checkContinue', (request, response) => server.emit('request', request, response));
server.on('clientError', (error: NodeJS.ErrnoException, socket) => {
  const found = cases.get(socket);
  if (found) found.error ??= error.code ?? error.message;
});

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** Turns until nothing more comes of what was pushed. */
async function settled(found: Case, patience: number): Promise<void> {
  let before = '';
  for (let quiet = 0; quiet < patience;) {
    await turn();
    const now = `${found.messages.length} ${found.messages.at(-1)?.body.length ?? 0} ${found.messages.at(-1)?.complete ?? ''} ${found.error ?? ''}`;
    quiet = now === before ? quiet + 1 : 0;
    before = now;
  }
}

/** Reads requests as a server of Node's would. `patience`: turns of silence to wait for. */
export async function nodeRequests(bytes: Buffer, patience = 2): Promise<NodeView> {
  const line = new Line();
  const found: Case = { messages: [], error: undefined };
  cases.set(line, found);
  line.on('error', () => undefined);
  server.emit('connection', line);
  line.push(bytes);
  await settled(found, patience);
  line.destroy();
  return found;
}

/** Reads one response as a client of Node's would; `closed`: the connection ends behind it. */
export async function nodeResponse(bytes: Buffer, method: string, closed: boolean, patience = 2): Promise<NodeView> {
  const line = new Line();
  const found: Case = { messages: [], error: undefined };
  const request = http.request({
    ...STRICT,
    method,
    createConnection: () => line,
    headers: { host: 'a' },
  });
  request.on('response', (response) => {
    found.messages.push(follow(response, String(response.statusCode)));
  });
  request.on('upgrade', (response) => {
    found.messages.push({ ...follow(response, String(response.statusCode)), complete: true });
  });
  request.on('error', (error: NodeJS.ErrnoException) => (found.error ??= error.code ?? error.message));
  request.end();
  await turn();
  line.push(bytes);
  if (closed) line.push(null);
  await settled(found, patience);
  request.destroy();
  line.destroy();
  return found;
}
