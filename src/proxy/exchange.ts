import { FAILURES, type FailureKind } from '../core/failure.ts';
import { LazyTimer } from '../core/lazy-timer.ts';
import type { Outcome } from '../core/outcome.ts';
import { Output, type OutputKind } from '../http1/body-reader.ts';
import type { ClientConnection } from '../http1/client-connection.ts';
import type { Refusal } from '../http1/refusal.ts';
import { Method, type RequestHead } from '../http1/request-head.ts';
import type { ResponseHead } from '../http1/response-head.ts';
import type { RequestHandler, ServerConnection } from '../http1/server-connection.ts';
import type { PooledConnection } from '../upstream/pool.ts';
import { Account } from './account.ts';
import { Attempt } from './attempt.ts';
import type { ProxyContext, Route } from './context.ts';
import { Delivery, type Sender, type Waits } from './delivery.ts';
import { IncomingResponse } from './incoming-response.ts';
import { OutgoingRequest } from './outgoing-request.ts';
import { renderReply, retryAfterSeconds } from './reply.ts';
import { RouteMemo } from './route-memo.ts';
import { Tunnel } from './tunnel.ts';

const Phase = { idle: 0, unanswered: 1, streaming: 2, tunnel: 3 } as const;

/**
 * One request after another on one client connection:
 *
 * 1. Route: the host to a service.
 * 2. Rewrite: the head that every attempt sends.
 * 3. Pick: a balancer's choice that its breaker lets through.
 * 4. Connect: a pooled connection, or a new one.
 * 5. Send: head and body; the body is kept while a retry may need it. These three are the `Delivery`.
 * 6. Response: its head to the client; from here on there is no retry.
 * 7. Stream: the response body, with backpressure.
 * 8. Settle: breaker, figures, pool, meters, log.
 */
export class Exchange extends LazyTimer implements RequestHandler, Sender {
  connection!: ServerConnection;
  /** Set by the owner of the connection. */
  onClosed: (() => void) | undefined;
  readonly delivery: Delivery;
  readonly #context: ProxyContext;
  readonly #memo: RouteMemo;
  readonly #request: OutgoingRequest;
  readonly #attempt: Attempt;
  readonly #response: IncomingResponse;
  readonly #account: Account;
  #phase: number = Phase.idle;
  #route: Route | undefined;
  #keepAlive = true;
  /** When the response head came. */
  #answeredMs = 0;
  #tunnel: Tunnel | undefined;
  /** Of a request whose head could not be read; else the id is in the head. */
  #ownId: string | undefined;

  constructor(context: ProxyContext, waits: Waits) {
    super(context.wheel);
    const request = new OutgoingRequest(context);
    const attempt = new Attempt(context, waits.queues);
    this.#context = context;
    this.#memo = new RouteMemo(context.router);
    this.#request = request;
    this.#attempt = attempt;
    this.delivery = new Delivery(context, { sender: this, request, attempt, waits });
    this.#response = new IncomingResponse(context);
    this.#account = new Account(context, attempt);
  }

  #begin(method: number): void {
    this.#context.requests.own++;
    this.#phase = Phase.unanswered;
    this.#account.begin(this.#context.clock.now());
    this.#request.begin(method);
    this.#attempt.reset();
    this.#response.streamed = false;
  }

  // Steps 1 and 2.
  onRequest(head: RequestHead, buffer: Buffer): void {
    const context = this.#context;
    this.#begin(head.method);
    this.#response.oldClient = head.minorVersion === 0;
    this.#keepAlive = head.keepAlive;
    const route = (this.#route = this.#memo.find(head, buffer));
    const websocket = head.wantsWebsocket && (route?.service.policy.websocket ?? false);
    this.#request.writeHead(head, buffer, this.connection.transport, websocket);
    this.#account.capture(head, buffer);
    if (!route) {
      this.#fail('no-route', 'no service is configured or registered for this host');
      return;
    }
    const { requests } = context;
    if (requests.own > requests.limit) {
      requests.refuse();
      this.#fail('overloaded', 'the gateway has as many requests under way as gateway.limits.requests allows');
      return;
    }
    route.budget.deposit();
    this.delivery.begin(route, this.#account.beganMs);
    if (!this.#request.hasBody) return;
    this.#request.keepBody(route.service.policy.retry.maxBodyBytes);
    // A client that waits for 100 sends nothing before the instance has seen the head.
    if (head.expectsContinue) this.delivery.tryNext();
  }

  onRequestBody(buffer: Buffer, start: number, end: number): void {
    this.#account.bytesIn += end - start;
    // Answered already: what still comes is dropped.
    if (this.#phase === Phase.unanswered) this.delivery.bringBody(buffer, start, end);
    else if (this.#phase === Phase.streaming) this.#sendBody(buffer, start, end);
  }

  /** The instance answers before it has had all of the request. */
  #sendBody(buffer: Buffer, start: number, end: number): void {
    if (this.#request.sendBody(this.#upstream.client.transport, buffer, start, end)) return;
    this.connection.pauseBody();
    this.#expectBody();
  }

  onRequestEnd(): void {
    this.#request.ended = true;
    this.delivery.requestEnded();
  }

  onRequestDrain(): void {
    if (this.#tunnel) {
      this.#tunnel.instanceDrained();
    } else if (this.#phase === Phase.streaming) {
      if (this.connection.transport.writing) this.clearDeadline();
      this.connection.resumeBody();
    } else this.delivery.goOn();
  }

  onInformational(head: ResponseHead, buffer: Buffer): void {
    if (this.#response.oldClient || this.#phase !== Phase.unanswered) return;
    this.#response.informational(head, buffer, this.connection.transport);
  }

  // Step 6.
  onResponse(head: ResponseHead, buffer: Buffer): OutputKind {
    const { clock, stopping } = this.#context;
    if (head.status === 101 && !(this.#request.websocket && head.switchesToWebsocket)) {
      this.delivery.failed('protocol-error', 'an upgrade that was not asked for');
      return Output.wire;
    }
    this.#answeredMs = clock.now();
    this.#account.status = head.status;
    this.delivery.answered(head.status, this.#answeredMs);
    this.#phase = Phase.streaming;
    const output = this.#response.head(head, buffer, !this.#keepAlive || !this.#request.ended || stopping);
    if (head.status === 101) this.#beginTunnel();
    return output;
  }

  // Step 7.
  onResponseBody(buffer: Buffer, start: number, end: number): void {
    const { client } = this.#upstream;
    this.#account.bytesOut += end - start;
    const taken = this.#response.body(buffer, start, end, buffer === client.bulk, this.connection.transport);
    if (!taken) this.#holdInstanceBack(client);
    else if (this.#response.streamed) this.#expectBody();
  }

  onResponsePause(): void {
    this.#response.streamed = true;
    if (!this.#response.flush(this.connection.transport)) this.#holdInstanceBack(this.#upstream.client);
    else if (!this.connection.transport.writing) this.#expectBody();
  }

  /** The client takes no more of the response for now. */
  #holdInstanceBack(client: ClientConnection): void {
    client.pause();
    // In the middle of its own body, which the instance does not take, nobody else times the client.
    if (client.transport.writing) this.#expectBody();
    else this.clearDeadline();
    this.connection.expectDrainWithin(this.#timeouts.bodyIdleMs);
  }

  /** Of either body: something must move in time. */
  #expectBody(): void {
    this.setDeadline(this.#context.clock.now() + this.#timeouts.bodyIdleMs);
  }

  onClientDrain(): void {
    if (this.#tunnel) {
      this.#tunnel.clientDrained();
    } else if (this.#phase === Phase.streaming) {
      this.#attempt.upstream?.client.resume();
      this.#expectBody();
    }
  }

  // Step 8.
  onResponseEnd(): boolean {
    const { transport } = this.connection;
    this.#response.end(transport);
    const { policy } = (this.#route as Route).service;
    const upstream = this.#upstream;
    this.#attempt.upstream = undefined;
    this.#attempt.end(this.#route as Route, this.#account.status);
    const nowMs = this.#response.streamed ? this.#context.clock.now() : this.#answeredMs;
    // Mid-request the instance may still wait for the rest.
    if (this.#request.ended) this.#context.pool.give(upstream, policy.maxIdleConnections, nowMs);
    else upstream.client.abandon();
    const { writing } = transport;
    this.#finish(undefined, !this.#response.closeAfter, nowMs);
    return !writing;
  }

  /** Answers in the instance's place. */
  #fail(kind: FailureKind, detail: string, refusedWith?: number): void {
    const status = refusedWith ?? FAILURES[kind].status;
    const close = !this.#keepAlive || !this.connection.requestComplete || this.#context.stopping;
    const bytes = renderReply({
      kind,
      status,
      detail,
      requestId: this.#requestId,
      retryAfterSeconds: retryAfterSeconds(this.#route?.service.policy.checks ?? []),
      close,
      omitBody: this.#request.method === Method.head,
      keepAliveForOldClient: this.#response.oldClient && !close,
    });
    this.#account.status = status;
    this.#account.bytesOut += bytes.length - (bytes.indexOf('\r\n\r\n') + 4);
    this.connection.transport.write(bytes, 0, bytes.length);
    this.#finish(kind, !close);
  }

  #finish(failure: FailureKind | undefined, keepAlive: boolean, nowMs = this.#context.clock.now()): void {
    const context = this.#context;
    const account = this.#account;
    const route = this.#route;
    if (failure === 'client-gone') account.status = FAILURES[failure].status;
    account.close(route, this.#request.method, this.#response.streamed, nowMs);
    if (context.accessLog) account.log(this.connection.transport.remoteAddress, this.#requestId, route, failure);
    context.requests.own--;
    this.delivery.end();
    this.#phase = Phase.idle;
    this.clearDeadline();
    this.#request.release(this.#attempt.count > 1);
    // Whether it closes was said in the head: what has begun to stop since must not break a client's next request.
    this.connection.finish(keepAlive, nowMs);
  }

  // What can go wrong on the way.
  onUndelivered(kind: FailureKind, detail: string): void {
    this.#fail(kind, detail);
  }

  onResponseFailed(kind: 'reset' | 'protocol', reason: string): void {
    if (this.#phase === Phase.unanswered) {
      this.delivery.broken(kind, reason);
      return;
    }
    if (kind === 'reset') this.#attempt.knock();
    if (this.#tunnel) this.#endTunnel();
    else if (kind === 'reset') this.#breakOff('reset', 'upstream-reset');
    else this.#breakOff('protocol-error', 'upstream-protocol');
  }

  /** Half an answer is out: the client must see that it is half. */
  #breakOff(outcome: Outcome, kind: FailureKind): void {
    this.#attempt.breakOff(this.#route, outcome);
    this.#response.drop();
    this.connection.abort();
    this.#finish(kind, false);
  }

  protected override onDeadline(): void {
    if (this.#phase !== Phase.streaming) return;
    if (this.connection.transport.writing) this.#breakOff('cancelled', 'client-gone');
    else this.#breakOff('timeout', 'upstream-timeout');
  }

  onRefused(refusal: Refusal | undefined, answered: boolean): void {
    this.#context.onRefused(refusal?.reason ?? 'too-slow');
    if (!answered) {
      this.#begin(Method.other);
      this.#ownId = this.#context.ids.next();
      this.#route = undefined;
      this.#account.captureNone();
    }
    const kind: FailureKind = refusal ? 'bad-request' : 'request-timeout';
    if (this.#phase === Phase.idle) return;
    if (this.#phase === Phase.streaming) {
      this.#breakOff('cancelled', kind);
      return;
    }
    // The head may be with an instance already: its connection must never be used again.
    this.#attempt.breakOff(this.#route, 'cancelled');
    this.#keepAlive = false;
    this.#fail(kind, refusal?.detail ?? 'the request did not come in time', refusal?.status);
  }

  onClientGone(): void {
    if (this.#tunnel) {
      this.#endTunnel();
    } else if (this.#phase !== Phase.idle) {
      this.#attempt.breakOff(this.#route, 'cancelled');
      this.#finish('client-gone', false);
    }
  }

  onClientStalled(): void {
    if (this.#phase !== Phase.idle) this.#breakOff('cancelled', 'client-gone');
  }

  onConnectionClosed(): void {
    this.releaseTimer();
    this.delivery.releaseTimer();
    this.#memo.forget();
    this.onClosed?.();
  }

  // A tunnel, after 101.
  #beginTunnel(): void {
    this.#response.flush(this.connection.transport);
    this.#attempt.judge(this.#route, 'success');
    this.#phase = Phase.tunnel;
    this.#tunnel = new Tunnel({
      client: this.connection.transport,
      instance: this.#upstream.client.transport,
      context: this.#context,
      idleMs: this.#timeouts.tunnelIdleMs,
      onOver: () => {
        this.#endTunnel();
      },
    });
    this.connection.tunnel();
  }

  onClientTunnelBytes(buffer: Buffer, start: number, end: number): void {
    this.#tunnel?.fromClient(buffer, start, end);
  }

  onServerTunnelBytes(buffer: Buffer, start: number, end: number): void {
    this.#tunnel?.fromInstance(buffer, start, end);
  }

  onClientTunnelEnd(): void {
    this.#tunnel?.clientEnded();
  }

  onServerTunnelEnd(): void {
    this.#tunnel?.instanceEnded();
  }

  #endTunnel(): void {
    const tunnel = this.#tunnel;
    if (!tunnel) return;
    this.#tunnel = undefined;
    tunnel.close();
    this.#account.bytesIn += tunnel.bytesIn;
    this.#account.bytesOut += tunnel.bytesOut;
    this.#attempt.breakOff(this.#route, 'success');
    this.#finish(undefined, false);
  }

  /** Obligation: only while an attempt holds a connection. */
  get #upstream(): PooledConnection {
    return this.#attempt.upstream as PooledConnection;
  }

  get #timeouts(): Route['service']['policy']['timeouts'] {
    return (this.#route as Route).service.policy.timeouts;
  }

  get #requestId(): string {
    return this.#ownId ?? this.#request.requestId ?? '';
  }
}
