import * as http from 'node:http';
import * as https from 'node:https';
import type { Clock } from '../core/clock.ts';
import { Deadline } from './deadline.ts';
import { ResponseStream } from './http-stream.ts';

export interface HttpRequest {
  readonly method?: 'GET' | 'POST' | 'PUT' | 'DELETE' | undefined;
  /** Path and query; begins with `/`. The caller has escaped it. */
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>> | undefined;
  readonly body?: string | undefined;
  /** Until the connection, TLS included, is there; waiting for a free one counts. Default 3 s. */
  readonly connectMs?: number | undefined;
  /** From there until the response head. A long poll adds its wait. Default 10 s. */
  readonly headMs?: number | undefined;
  /** Longest silence inside the body. Default 10 s. */
  readonly idleMs?: number | undefined;
  /** A larger body is an error. Default 64 MiB. */
  readonly maxBodyBytes?: number | undefined;
}

/** One request to one server. */
export interface Exchange {
  readonly url: URL;
  /** The server as messages name it. */
  readonly endpoint: string;
  readonly headers: Readonly<Record<string, string>>;
  /** false: a new connection, which nobody shares. */
  readonly agent: http.Agent | false;
  /** TLS settings for a connection outside the agent. */
  readonly tls: https.RequestOptions;
  readonly clock: Clock;
  /** Makes what the caller throws out of what the socket said. */
  readonly explain: (cause: unknown) => Error;
}

/** The server had closed a kept-alive connection before it read our request: ask again on a new one. */
export class StaleConnection extends Error {
  override readonly name = 'StaleConnection';
}

/** Resolves with the response head. Rejects with `explain(…)`, `StaleConnection`, or the reason of the signal. */
export function exchange(plan: Exchange, request: HttpRequest, signal: AbortSignal): Promise<ResponseStream> {
  const secure = plan.url.protocol === 'https:';
  return new Promise((resolve, reject) => {
    const call = (secure ? https : http).request(plan.url, {
      ...plan.tls,
      method: request.method ?? 'GET',
      headers: { accept: 'application/json', ...plan.headers, ...request.headers },
      agent: plan.agent,
    });
    const deadline = new Deadline(plan.clock, (passed) => call.destroy(passed));
    const onAbort = (): void => void call.destroy();
    const release = (): void => {
      deadline.clear();
      signal.removeEventListener('abort', onAbort);
    };
    signal.addEventListener('abort', onAbort, { once: true });

    deadline.set('connection', request.connectMs ?? 3000);
    call.once('socket', (socket) => {
      const onConnected = (): void => deadline.set('answer', request.headMs ?? 10_000);
      if (call.reusedSocket) onConnected();
      else socket.once(secure ? 'secureConnect' : 'connect', onConnected);
      // Finds a peer that vanished without a word before the answer's own deadline, which may be a minute away.
      socket.setKeepAlive(true, 15_000);
    });
    // Not `once`: an error may follow another one, and without a listener it would end the process.
    call.on('error', (error) => {
      release();
      if (signal.aborted) reject(abortReason(signal));
      else if (call.reusedSocket && isReset(error) && (request.method ?? 'GET') === 'GET')
        reject(new StaleConnection());
      else reject(plan.explain(error));
    });
    call.once('response', (response) => {
      deadline.clear();
      response.once('close', release);
      const { endpoint, clock, explain } = plan;
      const { idleMs = 10_000, maxBodyBytes = 67_108_864 } = request;
      resolve(new ResponseStream(response, { endpoint, clock, explain, idleMs, maxBodyBytes, signal }));
    });
    call.end(request.body);
  });
}

function isReset(error: Error & { code?: string }): boolean {
  return error.code === 'ECONNRESET' || error.code === 'EPIPE';
}

export function abortReason(signal: AbortSignal): Error {
  return signal.reason instanceof Error ? signal.reason : new Error('aborted', { cause: signal.reason });
}
