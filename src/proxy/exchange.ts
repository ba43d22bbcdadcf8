import { FAILURES, type FailureKind } from '../core/failure.ts';
import { LazyTimer } from '../core/lazy-timer.ts';
import type { Outcome } from '../core/outcome.ts';
import { Output, type OutputKind } from '../http1/body-reader.ts';
import type { ClientConnection, ResponseHandler } from '../http1/client-connection.ts';
import { Framing } from '../http1/framing.ts';
import type { Refusal } from '../http1/refusal.ts';
import { Method, METHODS, type RequestHead } from '../http1/request-head.ts';
import type { ResponseHead } from '../http1/response-head.ts';
import type { RequestHandler, ServerConnection } from '../http1/server-connection.ts';
import { READ_BUFFER_BYTES } from '../http1/transport.ts';
import { METHODS as METER_METHODS, type MethodIndex, type RetryReason } from '../telemetry/closed-sets.ts';
import type { PooledConnection } from '../upstream/pool.ts';
import { AccessEntry } from './access-entry.ts';
import { Attempt } from './attempt.ts';
import type { ProxyContext, Route } from './context.ts';
import { Closing, HEAD_ROOM_BYTES, writeResponseHead } from './headers.ts';
import { KeptBody } from './kept-body.ts';
import { OutgoingHead } from './outgoing-head.ts';
import { failureOf, renderReply, retryAfterSeconds } from './reply.ts';
import { mayRetry } from './retry.ts';
import { RouteMemo } from './route-memo.ts';
import { Tunnel, writeStaged } from './tunnel.ts';

/** RFC 9110 section 9.2.2, by index into METHODS. An unknown method may do anything. */
const IDEMPOTENT: readonly boolean[] = METHODS.map((name) =>
  ['GET', 'HEAD', 'PUT', 'DELETE', 'OPTIONS'].includes(name),
);
const METER_INDEX: readonly number[] = METHODS.map((name) => METER_METHODS.indexOf(name));

const Phase = { idle: 0, reading: 1, connecting: 2, waiting: 3, streaming: 4, tunnel: 5 } as const;

/** Responses up to this size wait for the end of the turn, to be written together. */
const BATCHED_BYTES = 16_384;
/** A request body waiting for its connection may grow to this before the client is held back. */
const HOLD_BACK_BYTES = 65_536;

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
export class Exchange extends LazyTimer implements RequestHandler, ResponseHandler {
  connection!: ServerConnection;
  /** Set by the owner of the connection. */
  onClosed: (() => void) | undefined;
  readonly #context: ProxyContext;
  readonly #memo: RouteMemo;
  readonly #head = new OutgoingHead();
  readonly #kept = new KeptBody();
  readonly #attempt: Attempt;
  #access: AccessEntry | undefined;
  #phase: number = Phase.idle;

  #route: Route | undefined;
  #method = 0;
  #oldClient = false;
  #keepAlive = true;
  #websocket = false;
  #hasBody = false;
  #requestEnded = false;
  /** Bytes of the body that have just been read and are neither sent nor kept. */
  #arrived: Buffer | undefined;
  #arrivedStart = 0;
  #arrivedEnd = 0;
  #beganMs = 0;
  #bytesIn = 0;

  #status = 0;
  #output: OutputKind = Output.wire;
  #closeAfter = false;
  /** End of a response head in the stage that has not been written yet; 0 = none. */
  #stagedEnd = 0;
  /** When the response head came. */
  #answeredMs = 0;
  /** The body took more than one read. */
  #streamed = false;
  #bytesOut = 0;
  #upstreamMs = 0;
  #tunnel: Tunnel | undefined;

  constructor(context: ProxyContext) {
    super(context.wheel);
    this.#context = context;
    this.#memo = new RouteMemo(context.router);
    this.#attempt = new Attempt(context);
  }

  /** The slot this exchange waits on for a response head, or -1. */
  get waitingOn(): number {
    return this.#phase === Phase.connecting || this.#phase === Phase.waiting ? this.#attempt.slot : -1;
  }

  /** When the current attempt began, on the context's clock. */
  get attemptBeganMs(): number {
    return this.#attempt.beganMs;
  }

  #begin(method: number): void {
    this.#context.requests++;
    this.#beganMs = this.#context.clock.now();
    this.#phase = Phase.reading;
    this.#method = method;
    this.#requestEnded = false;
    this.#attempt.reset();
    this.#status = 0;
    this.#streamed = false;
    this.#bytesIn = 0;
    this.#bytesOut = 0;
    this.#upstreamMs = 0;
  }

  // Steps 1 and 2.
  onRequest(head: RequestHead, buffer: Buffer): void {
    const context = this.#context;
    this.#begin(head.method);
    this.#oldClient = head.minorVersion === 0;
    this.#keepAlive = head.keepAlive;
    this.#hasBody = head.framing !== Framing.none;
    const route = (this.#route = this.#memo.find(head, buffer));
    this.#websocket = head.wantsWebsocket && (route?.service.policy.websocket ?? false);
    this.#head.write(head, buffer, this.connection.transport, context, this.#websocket);
    if (context.accessLog) (this.#access ??= new AccessEntry()).capture(head, buffer, context.clock.wall());
    if (!route) {
      this.#fail('no-route', 'no service is configured or registered for this host');
      return;
    }
    if (context.requests > context.maxRequests) {
      this.#fail('overloaded', 'the gateway has as many requests under way as gateway.limits.requests allows');
      return;
    }
    route.budget.deposit();
    if (!this.#hasBody) return;
    this.#kept.begin(route.service.policy.retry.maxBodyBytes);
    // A client that waits for 100 sends nothing before the instance has seen the head.
    if (head.expectsContinue) this.#tryNext();
  }

  onRequestBody(buffer: Buffer, start: number, end: number): void {
    this.#bytesIn += end - start;
    switch (this.#phase) {
      case Phase.reading:
        this.#beginWithBody(buffer, start, end);
        break;
      case Phase.connecting:
        this.#kept.append(buffer, start, end);
        if (this.#kept.length > HOLD_BACK_BYTES) this.connection.pauseBody();
        break;
      case Phase.waiting:
      case Phase.streaming:
        this.#sendBody(buffer, start, end);
        break;
      default:
      // Answered already: what still comes is dropped.
    }
  }

  /** With an idle connection at hand, the first bytes leave from where they were read. */
  #beginWithBody(buffer: Buffer, start: number, end: number): void {
    this.#arrived = buffer;
    this.#arrivedStart = start;
    this.#arrivedEnd = end;
    this.#tryNext();
    if (this.#hasArrived && this.#phase === Phase.connecting) this.#kept.append(buffer, start, end);
    this.#arrived = undefined;
  }

  get #hasArrived(): boolean {
    return this.#arrived !== undefined;
  }

  onRequestEnd(): void {
    this.#requestEnded = true;
    if (this.#phase === Phase.reading) this.#tryNext();
    else if (this.#phase === Phase.waiting) this.#awaitResponse();
  }

  // Steps 3 and 4.
  #tryNext(): void {
    const route = this.#route as Route;
    const attempt = this.#attempt;
    const replayable = this.#replayable;
    // The first attempt of a request without a body begins in the turn of its head.
    const first = attempt.count === 0;
    const nowMs = first && !this.#hasBody ? this.#beganMs : this.#context.clock.now();
    const member = attempt.begin(route, replayable && first, nowMs);
    if (typeof member === 'string') {
      this.#failUnpicked(member);
      return;
    }
    if (attempt.connect(!replayable, this.#onConnected)) this.#send();
    else this.#awaitConnection();
  }

  #awaitConnection(): void {
    this.#phase = Phase.connecting;
    this.setDeadline(this.#context.clock.now() + (this.#route as Route).service.policy.timeouts.connectMs);
  }

  readonly #onConnected = (code: string | undefined): void => {
    if (code === undefined) this.#send();
    else this.#attemptFailed('connect-failed', code);
  };

  /** Whether doing it again would do no harm as things stand. */
  get #replayable(): boolean {
    return IDEMPOTENT[this.#method] === true && (!this.#hasBody || this.#kept.whole) && !this.#websocket;
  }

  #failUnpicked(why: 'crowded' | 'none'): void {
    const { empty } = (this.#route as Route).service.view;
    if (why === 'crowded')
      this.#fail('overloaded', 'every instance has as many requests as maxInflightPerInstance allows');
    else if (empty === 'none-registered') this.#fail('no-instance', 'no instance is registered');
    else if (empty === 'none-available') this.#fail('no-instance', 'no registered instance is healthy and in rotation');
    else this.#fail('overloaded', 'the breaker of every instance is open');
  }

  // Step 5.
  #send(): void {
    const { client } = this.#attempt.upstream as PooledConnection;
    const { start, end } = this.#head;
    this.#phase = Phase.waiting;
    this.#attempt.sent = 'partial';
    client.begin(this, this.#method === Method.head);
    let taken = true;
    if (this.#hasBody) taken = this.#sendWithBody(client);
    else this.#context.batch.add(client.transport, this.#head.buffer as Buffer, start, end);
    if (this.#requestEnded) this.#awaitResponse();
    // Without a body, onRequestEnd follows in this very turn.
    else if (!this.#hasBody || taken) this.#goOnReading();
    else this.#holdBack();
  }

  /** The head, what is kept of the body, and what has just come of it, in one write. */
  #sendWithBody(client: ClientConnection): boolean {
    const { stage } = this.#context;
    const { start: headStart, end: headEnd } = this.#head;
    const arrived = this.#arrived;
    this.#arrived = undefined;
    if (arrived && (this.#replayable || this.#kept.length > 0))
      this.#kept.append(arrived, this.#arrivedStart, this.#arrivedEnd);
    const kept = this.#kept.bytes;
    stage.reserve(headEnd - headStart + this.#kept.length + READ_BUFFER_BYTES * 2);
    let end = stage.start + (this.#head.buffer as Buffer).copy(stage.buffer, stage.start, headStart, headEnd);
    if (kept) end += kept.copy(stage.buffer, end, 0, this.#kept.length);
    else if (arrived) end += arrived.copy(stage.buffer, end, this.#arrivedStart, this.#arrivedEnd);
    const taken = client.transport.write(stage.buffer, stage.start, end);
    if (!taken) stage.pin(end);
    if (!this.#replayable || this.#kept.overLimit) this.#kept.letGo();
    return taken;
  }

  #sendBody(buffer: Buffer, start: number, end: number): void {
    if (this.#kept.whole) {
      if (this.#replayable) this.#kept.append(buffer, start, end);
      if (!this.#replayable || this.#kept.overLimit) this.#kept.letGo();
    }
    const { transport } = (this.#attempt.upstream as PooledConnection).client;
    if (!writeStaged(this.#context.stage, transport, buffer, start, end)) this.#holdBack();
  }

  /** The instance takes no more of the body for now. */
  #holdBack(): void {
    this.connection.pauseBody();
    this.setDeadline(this.#context.clock.now() + (this.#route as Route).service.policy.timeouts.bodyIdleMs);
  }

  #goOnReading(): void {
    if (this.#phase === Phase.waiting ? !this.#requestEnded : this.connection.transport.writing) this.clearDeadline();
    this.connection.resumeBody();
  }

  #awaitResponse(): void {
    this.#attempt.sent = 'complete';
    const sinceMs = this.#hasBody ? this.#context.clock.now() : this.#attempt.beganMs;
    this.setDeadline(sinceMs + (this.#route as Route).service.policy.timeouts.responseHeadMs);
  }

  onRequestDrain(): void {
    if (this.#tunnel) this.#tunnel.instanceDrained();
    else this.#goOnReading();
  }

  onInformational(head: ResponseHead, buffer: Buffer): void {
    if (this.#oldClient || this.#phase !== Phase.waiting) return;
    const { stage } = this.#context;
    stage.reserve((head.nameStart[head.count] as number) + HEAD_ROOM_BYTES);
    const end = writeResponseHead(head, buffer, stage.buffer, stage.start, Output.wire, Closing.none);
    if (!this.connection.transport.write(stage.buffer, stage.start, end)) stage.pin(end);
  }

  // Step 6.
  onResponse(head: ResponseHead, buffer: Buffer): OutputKind {
    const { clock, figures, stopping } = this.#context;
    const attempt = this.#attempt;
    if (head.status === 101 && !(this.#websocket && head.switchesToWebsocket)) {
      this.#attemptFailed('protocol-error', 'an upgrade that was not asked for');
      return Output.wire;
    }
    const nowMs = clock.now();
    this.#answeredMs = nowMs;
    this.#status = head.status;
    this.#upstreamMs += nowMs - attempt.beganMs;
    figures.answered(attempt.slot, nowMs - attempt.beganMs, nowMs);
    this.#phase = Phase.streaming;
    this.clearDeadline();
    // A trial decides at the head: a long body must not keep the breaker waiting.
    if (attempt.isTrial) attempt.judge(this.#route, this.#outcomeOf(head.status));
    const { framing } = head;
    const untilClose = this.#oldClient && (framing === Framing.chunked || framing === Framing.untilClose);
    this.#closeAfter = !this.#keepAlive || untilClose || !this.#requestEnded || stopping;
    this.#output = Output.wire;
    if (this.#oldClient && framing === Framing.chunked) this.#output = Output.content;
    else if (!this.#oldClient && framing === Framing.untilClose) this.#output = Output.chunked;
    this.#stageResponse(head, buffer);
    if (head.status === 101) this.#beginTunnel();
    return this.#output;
  }

  #stageResponse(head: ResponseHead, buffer: Buffer): void {
    const { stage } = this.#context;
    stage.reserve((head.nameStart[head.count] as number) + HEAD_ROOM_BYTES + READ_BUFFER_BYTES);
    const connection = this.#closeAfter ? Closing.close : this.#oldClient ? Closing.keepAlive : Closing.none;
    this.#stagedEnd = writeResponseHead(head, buffer, stage.buffer, stage.start, this.#output, connection);
  }

  // Step 7.
  onResponseBody(buffer: Buffer, start: number, end: number): void {
    const { stage } = this.#context;
    const { client } = this.#attempt.upstream as PooledConnection;
    this.#bytesOut += end - start;
    // What came with the head leaves with it.
    if (this.#stagedEnd > 0 && this.#stagedEnd + end - start <= stage.buffer.length) {
      this.#stagedEnd += buffer.copy(stage.buffer, this.#stagedEnd, start, end);
      return;
    }
    if (this.#stagedEnd > 0) this.#flush();
    let taken: boolean;
    if (buffer === client.bulk) {
      taken = this.connection.transport.write(buffer, start, end);
    } else {
      taken = writeStaged(stage, this.connection.transport, buffer, start, end);
    }
    if (!taken) this.#holdInstanceBack(client);
    else if (this.#streamed) this.#expectBody();
  }

  /** The client takes no more of the response for now. */
  #holdInstanceBack(client: ClientConnection): void {
    client.pause();
    // In the middle of its own body, which the instance does not take, nobody else times the client.
    if (client.transport.writing) this.#expectBody();
    else this.clearDeadline();
    this.connection.expectDrainWithin((this.#route as Route).service.policy.timeouts.bodyIdleMs);
  }

  #flush(): boolean {
    const { stage } = this.#context;
    const end = this.#stagedEnd;
    this.#stagedEnd = 0;
    const taken = this.connection.transport.write(stage.buffer, stage.start, end);
    if (!taken) stage.pin(end);
    return taken;
  }

  /** All of a response that came in one read. */
  #flushWhole(): void {
    const { stage, batch } = this.#context;
    const end = this.#stagedEnd;
    if (end - stage.start > BATCHED_BYTES) {
      this.#flush();
      return;
    }
    this.#stagedEnd = 0;
    batch.add(this.connection.transport, stage.buffer, stage.start, end);
  }

  onResponsePause(): void {
    this.#streamed = true;
    const { client } = this.#attempt.upstream as PooledConnection;
    if (this.#stagedEnd > 0 && !this.#flush()) this.#holdInstanceBack(client);
    else if (!this.connection.transport.writing) this.#expectBody();
  }

  #expectBody(): void {
    this.setDeadline(this.#context.clock.now() + (this.#route as Route).service.policy.timeouts.bodyIdleMs);
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
    if (this.#stagedEnd > 0) this.#flushWhole();
    const { policy } = (this.#route as Route).service;
    const upstream = this.#attempt.upstream as PooledConnection;
    this.#attempt.upstream = undefined;
    this.#attempt.settle(this.#route, this.#outcomeOf(this.#status));
    // Mid-request the instance may still wait for the rest.
    const nowMs = this.#streamed ? this.#context.clock.now() : this.#answeredMs;
    if (this.#requestEnded) this.#context.pool.give(upstream, policy.maxIdleConnections, nowMs);
    else upstream.client.abandon();
    const { writing } = this.connection.transport;
    this.#finish(undefined, !this.#closeAfter, nowMs);
    return !writing;
  }

  #outcomeOf(status: number): Outcome {
    return (this.#route as Route).service.policy.breaker.failureStatuses.has(status) ? 'bad-status' : 'success';
  }

  onResponseFailed(kind: 'reset' | 'protocol', reason: string): void {
    const outcome = kind === 'reset' ? 'reset' : 'protocol-error';
    const { reused, upstream } = this.#attempt;
    if (this.#tunnel) this.#endTunnel();
    else if (kind === 'reset' && reused && !upstream?.client.responseBegan && this.#replayable) this.#reconnect();
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
    this.#stagedEnd = 0;
    this.connection.abort();
    this.#finish(kind, false);
  }

  /** The attempt came to nothing before a response head: another one, or an answer of our own. */
  #attemptFailed(outcome: Outcome, reason: string, moved = false): void {
    const route = this.#route as Route;
    const attempt = this.#attempt;
    const nowMs = this.#context.clock.now();
    const safe = mayRetry({
      sent: attempt.sent,
      idempotent: IDEMPOTENT[this.#method] === true,
      bodyReplayable: !this.#hasBody || this.#kept.whole,
      responseBegan: attempt.upstream?.client.responseBegan ?? false,
      attemptsLeft: route.service.policy.retry.attempts + 1 - attempt.count + (moved ? 1 : 0),
    });
    this.#upstreamMs += nowMs - attempt.beganMs;
    this.clearDeadline();
    attempt.drop();
    attempt.settle(route, outcome);
    this.#phase = Phase.reading;
    if (safe && attempt.othersLeft(route)) {
      // An ejection moves what waits in any case; it counts against those who come later.
      if (moved) route.budget.charge();
      if (moved || route.budget.withdraw(nowMs)) {
        route.meters.retry(moved ? 'ejected' : (outcome as RetryReason));
        this.#tryNext();
        return;
      }
      route.meters.budgetExhausted();
    }
    const failure = failureOf(outcome, reason);
    this.#fail(failure.kind, failure.detail);
  }

  /** The instance is being ejected: an attempt that still waits on it moves on where that does no harm. */
  moveOff(): void {
    if (this.waitingOn < 0 || !(this.#phase === Phase.connecting || this.#replayable)) return;
    if (this.#attempt.othersLeft(this.#route as Route)) this.#attemptFailed('cancelled', 'ejected', true);
  }

  protected override onDeadline(): void {
    switch (this.#phase) {
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
      case Phase.tunnel:
        this.#endTunnel();
        break;
      default:
    }
  }

  onRefused(refusal: Refusal | undefined, answered: boolean): void {
    this.#context.onRefused(refusal?.reason ?? 'too-slow');
    if (!answered) {
      this.#begin(Method.other);
      this.#route = undefined;
      this.#hasBody = false;
      this.#access?.clear(this.#context.clock.wall());
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

  #beginTunnel(): void {
    const { client } = this.#attempt.upstream as PooledConnection;
    this.#flush();
    this.#attempt.judge(this.#route, 'success');
    this.#phase = Phase.tunnel;
    this.#tunnel = new Tunnel(this.connection.transport, client.transport, this.#context.stage);
    this.connection.tunnel();
    this.#expectTunnel();
  }

  #expectTunnel(): void {
    this.setDeadline(this.#context.clock.now() + (this.#route as Route).service.policy.timeouts.tunnelIdleMs);
  }

  onClientTunnelBytes(buffer: Buffer, start: number, end: number): void {
    this.#tunnel?.fromClient(buffer, start, end);
    this.#expectTunnel();
  }

  onServerTunnelBytes(buffer: Buffer, start: number, end: number): void {
    this.#tunnel?.fromInstance(buffer, start, end);
    this.#expectTunnel();
  }

  onClientTunnelEnd(): void {
    this.#tunnel?.clientEnded();
    if (this.#tunnel?.over) this.#endTunnel();
  }

  onServerTunnelEnd(): void {
    this.#tunnel?.instanceEnded();
    if (this.#tunnel?.over) this.#endTunnel();
  }

  #endTunnel(): void {
    const tunnel = this.#tunnel;
    if (!tunnel) return;
    this.#bytesIn += tunnel.bytesIn;
    this.#bytesOut += tunnel.bytesOut;
    this.#tunnel = undefined;
    this.#attempt.drop();
    this.#attempt.settle(this.#route, 'success');
    this.#finish(undefined, false);
  }

  /** Answers in the instance's place. */
  #fail(kind: FailureKind, detail: string, status?: number): void {
    this.#status = status ?? FAILURES[kind].status;
    const close = !this.#keepAlive || !this.connection.requestComplete || this.#context.stopping;
    const bytes = renderReply({
      kind,
      status: this.#status,
      detail,
      requestId: this.#requestId,
      retryAfterSeconds: retryAfterSeconds(this.#route?.service.policy.checks ?? []),
      close,
      omitBody: this.#method === Method.head,
      keepAliveForOldClient: this.#oldClient && !close,
    });
    this.#bytesOut += bytes.length;
    this.connection.transport.write(bytes, 0, bytes.length);
    this.#finish(kind, !close);
  }

  get #requestId(): string {
    return this.#head.requestId ?? this.#context.ids.next();
  }

  #finish(failure: FailureKind | undefined, keepAlive: boolean, nowMs = this.#context.clock.now()): void {
    const context = this.#context;
    const durationMs = nowMs - this.#beganMs;
    // What neither instance nor client took. Of a body that came in pieces only they know how long it took.
    const overheadMs = this.#streamed ? 0 : Math.max(0, durationMs - this.#upstreamMs);
    if (failure === 'client-gone') this.#status = FAILURES[failure].status;
    const meters = this.#route?.meters ?? context.strayMeters;
    meters.request(METER_INDEX[this.#method] as MethodIndex, this.#status, durationMs, overheadMs);
    if (context.accessLog && this.#access) this.#log(this.#access, failure, durationMs, overheadMs);
    context.requests--;
    this.#phase = Phase.idle;
    this.clearDeadline();
    this.#head.release(this.#attempt.count > 1);
    if (this.#hasBody) this.#kept.letGo();
    this.connection.finish(keepAlive && !context.stopping, nowMs);
  }

  #log(access: AccessEntry, failure: FailureKind | undefined, durationMs: number, overheadMs: number): void {
    const { fleet, accessLog } = this.#context;
    access.complete(this.connection.transport.remoteAddress, this.#requestId, {
      route: this.#route,
      instance: this.#attempt.slot < 0 ? undefined : fleet.members[this.#attempt.slot]?.instance.id,
      status: this.#status,
      failure,
      attempts: this.#attempt.count,
      durationMs,
      upstreamMs: this.#upstreamMs,
      overheadMs,
      bytesIn: this.#bytesIn,
      bytesOut: this.#bytesOut,
    });
    accessLog?.write(access.record);
  }
}
