/**
 * A reader of HTTP/1.1 messages that shares no line with the one under test: slow, on strings and regular expressions,
 * and as strict as docs/http.md says. What it does not read must not be passed on.
 */
export interface ReadMessage {
  /** Request line or status line. */
  readonly line: string;
  /** Names as they came, values trimmed. */
  readonly fields: readonly (readonly [name: string, value: string])[];
  readonly framing: 'none' | 'length' | 'chunked' | 'close';
  /** What the body says, without its framing. */
  readonly content: string;
  /** The whole body has come. */
  readonly complete: boolean;
  /** The body is malformed: it never becomes complete. */
  readonly broken: boolean;
}

export interface Read {
  /** Messages in order; only the last one may be incomplete. */
  readonly messages: readonly ReadMessage[];
  /** Why reading stopped before the end. */
  readonly error: string | undefined;
  /** Bytes that belong to no message (yet). */
  readonly rest: string;
}

const FIELD =
  /^([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*((?:[\x21-\x7e\x80-\xff](?:[\x20-\x7e\x80-\xff\t]*[\x21-\x7e\x80-\xff])?)?)[ \t]*$/;
const REQUEST_LINE = /^([!#$%&'*+\-.^_`|~0-9A-Za-z]{1,32}) ([\x21\x22\x24-\x7e]+) HTTP\/1\.[01]$/;
const STATUS_LINE = /^HTTP\/1\.[01] ([1-5]\d\d)(?: [\x20-\x7e\x80-\xff\t]*)?$/;
const AUTHORITY = /^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(\d{1,5}))?$/;
const CHUNK_LINE =
  /^([0-9A-Fa-f]{1,13})((?:;[!#$%&'*+\-.^_`|~0-9A-Za-z]+(?:=(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]+|"(?:[\x20\x21\x23-\x5b\x5d-\x7e\x80-\xff\t]|\\[\x20-\x7e\x80-\xff\t])*"))?)*)$/;
const TAB_BEHIND_CODING = /^transfer-encoding:.*\t *$/i;
const MAX_DROPPED = 4096;

class Malformed extends Error {}

export function valuesOf(message: Pick<ReadMessage, 'fields'>, name: string): string[] {
  return message.fields.filter(([each]) => each.toLowerCase() === name).map(([, value]) => value);
}

interface Head {
  readonly line: string;
  readonly fields: [string, string][];
  readonly end: number;
}

function readHead(text: string, from: number, start: RegExp): Head | undefined {
  const end = text.indexOf('\r\n\r\n', from);
  if (end < 0) return undefined;
  const lines = text.slice(from, end).split('\r\n');
  const line = lines.shift() ?? '';
  if (!start.test(line)) throw new Malformed(`start line ${JSON.stringify(line.slice(0, 80))}`);
  const fields = lines.map((each): [string, string] => {
    const match = FIELD.exec(each);
    if (!match) throw new Malformed(`field line ${JSON.stringify(each.slice(0, 80))}`);
    if (TAB_BEHIND_CODING.test(each)) throw new Malformed('a tab behind Transfer-Encoding');
    return [match[1] as string, match[2] as string];
  });
  return { line, fields, end: end + 4 };
}

/** `undefined` = no Content-Length. */
function lengthOf(head: Head): number | undefined {
  const values = valuesOf(head, 'content-length');
  if (values.length === 0) return undefined;
  if (values.length > 1 || !/^(?:0|[1-9]\d{0,14})$/.test(values[0] as string)) throw new Malformed('Content-Length');
  return Number(values[0]);
}

function isChunked(head: Head): boolean {
  const values = valuesOf(head, 'transfer-encoding');
  if (values.length === 0) return false;
  if (values.length > 1 || (values[0] as string).toLowerCase() !== 'chunked') throw new Malformed('Transfer-Encoding');
  if (head.line.startsWith('HTTP/1.') ? head.line.startsWith('HTTP/1.0') : head.line.endsWith('1.0'))
    throw new Malformed('Transfer-Encoding in HTTP/1.0');
  if (valuesOf(head, 'content-length').length > 0) throw new Malformed('Content-Length with Transfer-Encoding');
  return true;
}

interface Body {
  readonly content: string;
  readonly complete: boolean;
  readonly broken?: boolean;
  readonly end: number;
}

/** Reads a chunked body; throws where it is malformed, as far as it has come. */
export function readChunked(text: string, from: number): Body {
  let at = from;
  let content = '';
  let dropped = 0;
  while (true) {
    const lineEnd = text.indexOf('\r\n', at);
    if (lineEnd < 0) return { content, complete: false, end: text.length };
    const match = CHUNK_LINE.exec(text.slice(at, lineEnd));
    if (!match) throw new Malformed(`chunk line ${JSON.stringify(text.slice(at, lineEnd).slice(0, 80))}`);
    // As the gateway counts: with the CR behind it.
    if (match[2] !== '') dropped += (match[2] as string).length + 1;
    if (dropped > MAX_DROPPED) throw new Malformed('too much in chunk extensions');
    const size = Number.parseInt(match[1] as string, 16);
    at = lineEnd + 2;
    if (size === 0) break;
    content += text.slice(at, at + size);
    if (text.length < at + size + 2) {
      const tail = text.slice(at + size);
      if (tail !== '' && tail !== '\r') throw new Malformed('no CRLF behind a chunk');
      return { content, complete: false, end: text.length };
    }
    if (text.slice(at + size, at + size + 2) !== '\r\n') throw new Malformed('no CRLF behind a chunk');
    at += size + 2;
  }
  while (true) {
    const lineEnd = text.indexOf('\r\n', at);
    if (lineEnd < 0) return { content, complete: false, end: text.length };
    const line = text.slice(at, lineEnd);
    at = lineEnd + 2;
    if (line === '') return { content, complete: true, end: at };
    if (!FIELD.test(line)) throw new Malformed(`trailer ${JSON.stringify(line.slice(0, 80))}`);
    dropped += line.length + 1;
    if (dropped > MAX_DROPPED) throw new Malformed('too much in trailers');
  }
}

/** The head was well-formed: what follows it never makes a whole message of it. */
function readBody(text: string, head: Head, framing: ReadMessage['framing'], length: number): Body {
  try {
    return readFramed(text, head, framing, length);
  } catch (error) {
    if (!(error instanceof Malformed)) throw error;
    return { content: '', complete: false, broken: true, end: text.length };
  }
}

function readFramed(text: string, head: Head, framing: ReadMessage['framing'], length: number): Body {
  switch (framing) {
    case 'none':
      return { content: '', complete: true, end: head.end };
    case 'length': {
      const end = head.end + length;
      return { content: text.slice(head.end, end), complete: text.length >= end, end: Math.min(end, text.length) };
    }
    case 'chunked':
      return readChunked(text, head.end);
    case 'close':
      return { content: text.slice(head.end), complete: false, end: text.length };
  }
}

function readAll(
  text: string,
  read: (from: number, index: number) => { message: ReadMessage; end: number } | undefined,
): Read {
  const messages: ReadMessage[] = [];
  let at = 0;
  try {
    while (at < text.length) {
      const next = read(at, messages.length);
      if (!next) break;
      messages.push(next.message);
      at = next.end;
      if (!next.message.complete) break;
    }
  } catch (error) {
    if (!(error instanceof Malformed)) throw error;
    return { messages, error: error.message, rest: text.slice(at) };
  }
  return { messages, error: undefined, rest: text.slice(at) };
}

function checkRequest(head: Head): void {
  const [method, target] = head.line.split(' ') as [string, string];
  if (method === 'CONNECT' || method === 'TRACE') throw new Malformed(method);
  if (target.includes('%00')) throw new Malformed('%00');
  const hosts = valuesOf(head, 'host');
  if (hosts.length > 1) throw new Malformed('Host twice');
  const absolute = /^https?:\/\/([^/?]*)/i.exec(target);
  if (!absolute && !target.startsWith('/') && !(target === '*' && method === 'OPTIONS')) throw new Malformed('target');
  if (hosts.length === 0 && (!absolute || head.line.endsWith('1'))) throw new Malformed('no Host');
  const authority = (absolute ? absolute[1] : hosts[0]) as string;
  const port = AUTHORITY.exec(authority);
  if (!port || (port[2] !== undefined && (Number(port[2]) < 1 || Number(port[2]) > 65_535)))
    throw new Malformed(`authority ${authority}`);
  if (absolute && hosts[0] !== undefined && hosts[0].toLowerCase() !== authority.toLowerCase())
    throw new Malformed('authority and Host differ');
  const expectations = valuesOf(head, 'expect');
  if (
    head.line.endsWith('1') &&
    expectations.length > 0 &&
    (expectations.length > 1 || (expectations[0] as string).toLowerCase() !== '100-continue')
  )
    throw new Malformed('Expect');
}

/** Every request in the text, up to the first that is malformed. */
export function readRequests(text: string): Read {
  return readAll(text, (from) => {
    const start = text.startsWith('\r\n', from) ? from + 2 : from;
    const head = readHead(text, start, REQUEST_LINE);
    if (!head) return undefined;
    checkRequest(head);
    const chunked = isChunked(head);
    const length = lengthOf(head) ?? 0;
    const framing = chunked ? 'chunked' : length > 0 ? 'length' : 'none';
    const body = readBody(text, head, framing, length);
    const { line, fields } = head;
    const { content, complete, broken = false, end } = body;
    return { message: { line, fields, framing, content, complete, broken }, end };
  });
}

/** Every response in the text. `methods[i]` is the method of request i; `closed`: the connection has ended with FIN. */
export function readResponses(text: string, methods: readonly string[], closed: boolean): Read {
  let answered = 0;
  return readAll(text, (from) => {
    const head = readHead(text, from, STATUS_LINE);
    if (!head) return undefined;
    const status = Number(head.line.slice(9, 12));
    if (status < 200 && head.line.startsWith('HTTP/1.0')) throw new Malformed('an interim response in HTTP/1.0');
    const chunked = isChunked(head);
    const length = lengthOf(head);
    const method = methods[answered];
    if (status >= 200 || status === 101) answered++;
    const bodyless = method === 'HEAD' || status < 200 || status === 204 || status === 304;
    const framing = bodyless || length === 0 ? 'none' : chunked ? 'chunked' : length === undefined ? 'close' : 'length';
    const body = readBody(text, head, framing, length ?? 0);
    const complete = framing === 'close' ? closed : body.complete;
    const { line, fields } = head;
    const { content, broken = false, end } = body;
    return { message: { line, fields, framing, content, complete, broken }, end };
  });
}
