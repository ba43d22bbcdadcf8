import { FAILURES, type FailureKind } from '../core/failure.ts';
import { LazyTimer } from '../core/lazy-timer.ts';
import type { Outcome } from '../core/outcome.ts';
import { isOwnShortage } from '../core/socket-budget.ts';
import { Output, type OutputKind } from '../http1/body-reader.ts';
import type { ClientConnection, ResponseHandler } from '../http1/client-connection.ts';
import type { Refusal } from '../http1/refusal.ts';
import { Method, type RequestHead } from '../http1/request-head.ts';
import type { ResponseHead } from '../http1/response-head.ts';
import type { RequestHandler, ServerConnection } from '../http1/server-connection.ts';
import type { PooledConnection } from '../upstream/pool.ts';
import { Account } from './account.ts';
import { Attempt } from './attempt.ts';
import type { ProxyContext, Route } from './context.ts';
import { IncomingResponse } from './incoming-response.ts';
import { OutgoingRequest } from './outgoing-request.ts';
import type { PlaceQueues, PlaceSeeker } from './place-queue.ts';
import { failureOf, renderReply, retryAfterSeconds, unpicked } from './reply.ts';
import { RouteMemo } from './route-memo.ts';
import { Tunnel } from './tunnel.ts';
import type { Waiter, WaitingList } from './waiting.ts';

const Phase = { idle: 0, reading: 1, queued: 2, connecting: 3, waiting: 4, streaming: 5, tunnel: 6 } as const;

/** Where the exchanges of one thread wait. */
export interface Waits {
  /** For a response head. */
  readonly waiting: WaitingList<Exchange>;
  /** For a place on an instance. */
  readonly queues: PlaceQueues;
}

/**
 * One request after another on one client connection:
 *
 * 1. Route: the host to a service.
 * 2. Rewrite: the head that every attempt sends.
 * 3. Pick: a balancer's choice that its breaker lets through.
 * 4. Connect: a pooled connection, or a new one.
 * 5. Send: head and body; the body is kept while a retry may need it.
 * 6. Response: its head to the client; from here on there is no retry.
 * 7. Stream: the response body, with backpressure.
 * 8. Settle: breaker, figures, pool, meters, log.
 */
export class Exchange extends LazyTimer implements RequestHandler, ResponseHandler, Waiter, PlaceSeeker {
  connection!: ServerConnection;
  waitingAt = -1;
  /** Set by the owner of the connection. */
  onClosed: (() => void) | undefined;
  readonly #context: ProxyContext;
  readonly #waiting: WaitingList<Exchange>;
  readonly #queues: PlaceQueues;
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

  constructor(context: ProxyContext, { waiting, queues }: Waits) {
    super(context.wheel);
    this.#context = context;
    this.#waiting = waiting;
    this.#queues = queues;
    this.#memo = new RouteMemo(context.router);
    this.#request = new OutgoingRequest(context);
    this.#attempt = new Attempt(context, queues);
    this.#response = new IncomingResponse(context);
    this.#account = new Account(context);
  }

  get waitingOn(): number {
    return this.#attempt.slot;
  }

  get answerDue(): boolean {
    return this.#attempt.sent !== 'partial';
  }

  get isTrial(): boolean {
    return this.#attempt.isTrial;
  }

  get attemptBeganMs(): number {
    return this.#attempt.beganMs;
  }

  #begin(method: number): void {
    this.#context.requests++;
    this.#phase = Phase.reading;
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
    if (context.requests > context.maxRequests) {
      this.#fail('overloaded', 'the gateway has as many requests under way as gateway.limits.requests allows');
      return;
    }
    route.budget.deposit();
    if (!this.#request.hasBody) return;
    this.#request.keepBody(route.service.policy.retry.maxBodyBytes);
    // A client that waits for 100 sends nothing before the instance has seen the head.
    if (head.expectsContinue) this.#tryNext();
  }

  onRequestBody(buffer: Buffer, start: number, end: number): void {
    this.#account.bytesIn += end - start;
    switch (this.#phase) {
      case Phase.reading:
        this.#request.arrive(buffer, start, end);
        this.#tryNext();
        this.#request.endArrival(this.#isHeld);
        break;
      case Phase.queued:
      case Phase.connecting:
        if (!this.#request.keep(buffer, start, end)) this.connection.pauseBody();
        break;
      case Phase.waiting:
      case Phase.streaming:
        if (!this.#request.sendBody(this.#upstream.client.transport, buffer, start, end)) this.#holdBack();
        break;
      default:
      // Answered already: what still comes is dropped.
    }
  }

  /** What comes of the body has to wait. */
  get #isHeld(): boolean {
    return this.#phase === Phase.queued || this.#phase === Phase.connecting;
  }

  onRequestEnd(): void {
    this.#request.ended = true;
    if (this.#phase === Phase.reading) this.#tryNext();
    else if (this.#phase === Phase.waiting) this.#awaitResponse();
  }

  // Steps 3 and 4.
  #tryNext(): void {
    // First come, first served.
    if (this.#queues.isWaitedFor((this.#route as Route).service) || !this.#tryPlace()) this.#waitForPlace();
  }

  /** False where every instance has as many requests as it may. */
  #tryPlace(): boolean {
    const route = this.#route as Route;
    const attempt = this.#attempt;
    const { replayable } = this.#request;
    // The first attempt of a request without a body begins in the turn of its head.
    const first = attempt.count === 0;
    const atOnce = first && !this.#request.hasBody && this.#phase !== Phase.queued;
    const nowMs = atOnce ? this.#account.beganMs : this.#context.clock.now();
    const member = attempt.begin(route, replayable && first, nowMs);
    if (member === 'crowded') return false;
    this.#leaveQueue();
    if (member === 'none') {
      const failure = unpicked(route.service.view);
      this.#fail(failure.kind, failure.detail);
      return true;
    }
    this.#waiting.add(this);
    if (attempt.connect(!replayable, this.#onConnected)) this.#send();
    else this.#awaitConnection();
    return true;
  }

  #waitForPlace(): void {
    const { service, meters } = this.#route as Route;
    if (!this.#queues.join(service, this)) {
      meters.queueRejected('full');
      this.#fail('overloaded', 'every instance has as many requests as it may, and as many wait as may');
      return;
    }
    meters.queued(1);
    this.#phase = Phase.queued;
    this.setDeadline(this.#context.clock.now() + service.policy.queue.timeoutMs);
  }

  takePlace(): boolean {
    return this.#tryPlace();
  }

  /** Whatever has become of its wait. */
  #leaveQueue(): void {
    if (this.#phase !== Phase.queued) return;
    const { service, meters } = this.#route as Route;
    this.#phase = Phase.reading;
    this.#queues.leave(service, this);
    meters.queued(-1);
  }

  #awaitConnection(): void {
    this.#phase = Phase.connecting;
    this.setDeadline(this.#context.clock.now() + this.#timeouts.connectMs);
  }

  readonly #onConnected = (code: string | undefined): void => {
    if (code === undefined) this.#send();
    else if (isOwnShortage(code)) this.#ranOut(code);
    else this.#attemptFailed('connect-failed', code);
  };

  /** No socket for a connection: whoever was picked had no part in it, and nobody else would fare better. */
  #ranOut(code: string): void {
    this.clearDeadline();
    this.#attempt.drop();
    this.#attempt.settle(this.#route, 'cancelled');
    this.#fail('overloaded', `the gateway has no socket left for a connection to an instance (${code})`);
  }

  // Step 5.
  #send(): void {
    const { client } = this.#upstream;
    const request = this.#request;
    this.#phase = Phase.waiting;
    this.#attempt.sent = 'partial';
    client.begin(this, request.method === Method.head);
    const taken = request.send(client);
    if (request.ended) this.#awaitResponse();
    // Without a body, onRequestEnd follows in this very turn.
    else if (taken) this.#goOnReading();
    else this.#holdBack();
  }

  /** The instance takes no more of the body for now. */
  #holdBack(): void {
    this.connection.pauseBody();
    this.#expectBody();
  }

  #goOnReading(): void {
    if (this.#phase === Phase.waiting ? !this.#request.ended : this.connection.transport.writing) this.clearDeadline();
    this.connection.resumeBody();
  }

  #awaitResponse(): void {
    this.#attempt.sent = 'complete';
    const sinceMs = this.#request.hasBody ? this.#context.clock.now() : this.#attempt.beganMs;
    this.setDeadline(sinceMs + this.#timeouts.responseHeadMs);
  }

  onRequestDrain(): void {
    if (this.#tunnel) this.#tunnel.instanceDrained();
    else this.#goOnReading();
  }

  onInformational(head: ResponseHead, buffer: Buffer): void {
    if (this.#response.oldClient || this.#phase !== Phase.waiting) return;
    this.#response.informational(head, buffer, this.connection.transport);
  }

  // Step 6.
  onResponse(head: ResponseHead, buffer: Buffer): OutputKind {
    const { clock, stopping } = this.#context;
    const attempt = this.#attempt;
    if (head.status === 101 && !(this.#request.websocket && head.switchesToWebsocket)) {
      this.#attemptFailed('protocol-error', 'an upgrade that was not asked for');
      return Output.wire;
    }
    this.#answeredMs = clock.now();
    this.#account.status = head.status;
    this.#account.upstreamMs += attempt.answered(this.#route as Route, head.status, this.#answeredMs);
    this.#waiting.answered(this);
    this.#phase = Phase.streaming;
    this.clearDeadline();
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
    this.#account.bytesOut += bytes.length;
    this.connection.transport.write(bytes, 0, bytes.length);
    this.#finish(kind, !close);
  }

  #finish(failure: FailureKind | undefined, keepAlive: boolean, nowMs = this.#context.clock.now()): void {
    const context = this.#context;
    const account = this.#account;
    const route = this.#route;
    if (failure === 'client-gone') account.status = FAILURES[failure].status;
    account.close(route, this.#request.method, this.#response.streamed, nowMs);
    if (context.accessLog)
      account.log(this.connection.transport.remoteAddress, this.#requestId, route, this.#attempt, failure);
    context.requests--;
    this.#waiting.remove(this);
    this.#leaveQueue();
    this.#phase = Phase.idle;
    this.clearDeadline();
    this.#request.release(this.#attempt.count > 1);
    // Whether it closes was said in the head: what has begun to stop since must not break a client's next request.
    this.connection.finish(keepAlive, nowMs);
  }

  // What can go wrong on the way.
  onResponseFailed(kind: 'reset' | 'protocol', reason: string): void {
    const outcome = kind === 'reset' ? 'reset' : 'protocol-error';
    const { reused, upstream } = this.#attempt;
    // What waits for the end of the turn has not left: then even a request that may not be repeated can go elsewhere.
    const harmless = this.#request.replayable || upstream?.client.transport.batch !== undefined;
    const stale = kind === 'reset' && reused && !upstream?.client.responseBegan && harmless;
    if (kind === 'reset' && !stale) this.#attempt.knock();
    if (this.#tunnel) this.#endTunnel();
    else if (stale) this.#reconnect();
    else if (this.#phase !== Phase.streaming) this.#attemptFailed(outcome, reason);
    else this.#breakOff(outcome, kind === 'reset' ? 'upstream-reset' : 'upstream-protocol');
  }

  /** The instance closed an idle connection as we took it: nobody's failure, and no other instance is needed. */
  #reconnect(): void {
    this.#attempt.connectAnew(this.#onConnected);
    this.#awaitConnection();
  }

  /** Half an answer is out: the client must see that it is half. */
  #breakOff(outcome: Outcome, kind: FailureKind): void {
    this.#attempt.drop();
    this.#attempt.settle(this.#route, outcome);
    this.#response.drop();
    this.connection.abort();
    this.#finish(kind, false);
  }

  /** The attempt came to nothing before a response head: another one, or an answer of our own. */
  #attemptFailed(outcome: Outcome, reason: string, moved = false): void {
    const route = this.#route as Route;
    const nowMs = this.#context.clock.now();
    this.#account.upstreamMs += nowMs - this.#attempt.beganMs;
    this.clearDeadline();
    this.#waiting.remove(this);
    this.#phase = Phase.reading;
    if (this.#attempt.failed(route, this.#request, outcome, moved, nowMs)) {
      this.#tryNext();
      return;
    }
    const failure = failureOf(outcome, reason);
    this.#fail(failure.kind, failure.detail);
  }

  /** The instance is being ejected: an attempt that still waits on it moves on where that does no harm. */
  moveOff(): void {
    if (this.#movable) this.#attemptFailed('cancelled', 'ejected', true);
  }

  /** The trial has taken too long already: whatever comes of it, it has failed. */
  failTrial(): void {
    if (this.#movable) this.#attemptFailed('timeout', 'timeout', true);
    else this.#attempt.judge(this.#route, 'timeout');
  }

  get #movable(): boolean {
    if (this.waitingAt < 0 || !(this.#phase === Phase.connecting || this.#request.replayable)) return false;
    return this.#attempt.othersLeft(this.#route as Route);
  }

  protected override onDeadline(): void {
    switch (this.#phase) {
      case Phase.queued:
        this.#route?.meters.queueRejected('timeout');
        this.#fail('overloaded', 'every instance has as many requests as it may, and none came free in time');
        break;
      case Phase.connecting:
        this.#attemptFailed('connect-failed', 'ETIMEDOUT');
        break;
      case Phase.waiting:
        this.#attemptFailed('timeout', 'timeout');
        break;
      case Phase.streaming:
        if (this.connection.transport.writing) this.#breakOff('cancelled', 'client-gone');
        else this.#breakOff('timeout', 'upstream-timeout');
        break;
      default:
    }
  }

  onRefused(refusal: Refusal | undefined, answered: boolean): void {
    this.#context.onRefused(refusal?.reason ?? 'too-slow');
    if (!answered) {
      this.#begin(Method.other);
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
    this.#attempt.drop();
    this.#attempt.settle(this.#route, 'cancelled');
    this.#keepAlive = false;
    this.#fail(kind, refusal?.detail ?? 'the request did not come in time', refusal?.status);
  }

  onClientGone(): void {
    if (this.#tunnel) {
      this.#endTunnel();
    } else if (this.#phase !== Phase.idle) {
      this.#attempt.drop();
      this.#attempt.settle(this.#route, 'cancelled');
      this.#finish('client-gone', false);
    }
  }

  onClientStalled(): void {
    if (this.#phase !== Phase.idle) this.#breakOff('cancelled', 'client-gone');
  }

  onConnectionClosed(): void {
    this.releaseTimer();
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
    this.#attempt.drop();
    this.#attempt.settle(this.#route, 'success');
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
    return this.#request.requestId ?? this.#context.ids.next();
  }
}
