import http, { type ClientRequest, type RequestListener, type ServerResponse } from 'node:http';
import { pipeline } from 'node:stream';
import type { HostPort } from '../config/config.ts';
import { type Clock, sleep } from '../core/clock.ts';

export interface PassOnOptions extends HostPort {
  readonly clock: Clock;
  /**
   * Who says nothing for as long is asked something else, and has as long to answer that. Without an answer what was
   * passed on is given up; with one it may take what it takes, as queries do that wait for a change.
   */
  readonly silenceMs?: number | undefined;
}

const SILENCE_MS = 7500;

/** Headers of one connection, RFC 9110 section 7.6.1, and what Node has dealt with already. */
const HOP_BY_HOP = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'transfer-encoding',
  'te',
  'trailer',
  'upgrade',
  'expect',
]);

/**
 * Answers with what is said at this address now: for connections that outlive their listener, whose clients cannot know
 * that it is another process's. Each answer is the last of its connection.
 */
export function passOn(options: PassOnOptions): RequestListener {
  const { host, port } = options;
  const successor = new Successor(options);
  return (incoming, outgoing) => {
    const onward = http.request({
      host,
      port,
      method: incoming.method,
      path: incoming.url,
      headers: endToEnd(incoming.rawHeaders, incoming.headers['transfer-encoding'] !== undefined),
      agent: false,
    });
    onward.on('response', (answer) => {
      const chunked = answer.headers['transfer-encoding'] !== undefined;
      outgoing.writeHead(answer.statusCode ?? 502, endToEnd(answer.rawHeaders, chunked));
      // Where one side breaks off, the other hears of it by the end of its connection.
      pipeline(answer, outgoing, () => undefined);
    });
    onward.on('error', () => {
      fail(outgoing, 503, NOBODY);
    });
    const over = new AbortController();
    outgoing.on('close', () => {
      over.abort();
      onward.destroy();
    });
    void successor.silenceOf(onward, over.signal).then((isSilent) => {
      if (!isSilent) return;
      fail(outgoing, 504, SILENT);
      // What its client still sends would else keep it from reading the answer.
      incoming.unpipe(onward).resume();
      onward.destroy();
    });
    // A client that breaks off is heard of through `outgoing`.
    incoming.on('error', () => undefined);
    incoming.pipe(onward);
  };
}

/** Who listens at the address now. */
class Successor {
  readonly #options: PassOnOptions;
  readonly #silenceMs: number;
  #asking: Promise<boolean> | undefined;

  constructor(options: PassOnOptions) {
    this.#options = options;
    this.#silenceMs = options.silenceMs ?? SILENCE_MS;
  }

  /** Resolves with true when nothing is to be expected of the request, with false when it is over. Never rejects. */
  async silenceOf(request: ClientRequest, over: AbortSignal): Promise<boolean> {
    for (let heardBytes = 0; !over.aborted;) {
      await sleep(this.#options.clock, this.#silenceMs, over);
      const bytes = request.socket?.bytesRead ?? 0;
      if (bytes === heardBytes && !(await this.#answers())) return !over.aborted;
      heardBytes = bytes;
    }
    return false;
  }

  /** Whether it answers anything at all, be it that it refuses; once for all who want to know. */
  #answers(): Promise<boolean> {
    return (this.#asking ??= this.#ask().finally(() => (this.#asking = undefined)));
  }

  #ask(): Promise<boolean> {
    const { host, port, clock } = this.#options;
    return new Promise((resolve) => {
      const question = http.request({ host, port, path: '/healthz', agent: false });
      const cancel = clock.after(this.#silenceMs, () => question.destroy());
      question.on('response', (answer) => {
        resolve(true);
        answer.resume();
      });
      question.on('error', () => undefined);
      question.on('close', () => {
        cancel();
        resolve(false);
      });
      question.end();
    });
  }
}

function fail(outgoing: ServerResponse, status: number, body: string): void {
  if (outgoing.writableEnded) return;
  if (outgoing.headersSent) outgoing.destroy();
  else outgoing.writeHead(status, PROBLEM).end(body);
}

const PROBLEM = ['content-type', 'application/problem+json', 'retry-after', '1', 'connection', 'close'];
const NOBODY = '{"title":"The gateway is being replaced","status":503,"detail":"Try again."}\n';
const SILENT =
  '{"title":"The gateway that has taken over does not answer","status":504,"detail":"What was asked may have been done, or not."}\n';

function endToEnd(raw: readonly string[], chunked: boolean): string[] {
  const kept: string[] = [];
  for (let at = 0; at + 1 < raw.length; at += 2) {
    const name = raw[at] ?? '';
    if (!HOP_BY_HOP.has(name.toLowerCase())) kept.push(name, raw[at + 1] ?? '');
  }
  if (chunked) kept.push('transfer-encoding', 'chunked');
  kept.push('connection', 'close');
  return kept;
}
