import http, { type RequestListener } from 'node:http';
import { pipeline } from 'node:stream';
import type { HostPort } from '../config/config.ts';

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
export function passOn({ host, port }: HostPort): RequestListener {
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
      if (outgoing.headersSent) outgoing.destroy();
      else outgoing.writeHead(503, UNAVAILABLE).end(NOBODY);
    });
    outgoing.on('close', () => onward.destroy());
    // A client that breaks off is heard of through `outgoing`.
    incoming.on('error', () => undefined);
    incoming.pipe(onward);
  };
}

const UNAVAILABLE = ['content-type', 'application/problem+json', 'retry-after', '1', 'connection', 'close'];
const NOBODY = '{"title":"The gateway is being replaced","status":503,"detail":"Try again."}\n';

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
