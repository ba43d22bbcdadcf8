import type { Permit } from '../breaker/breaker.ts';
import { FAILURES, type FailureKind } from '../core/failure.ts';
import { LazyTimer } from '../core/lazy-timer.ts';
import type { Outcome } from '../core/outcome.ts';
import { Output, type OutputKind } from '../http1/body-reader.ts';
import type { ResponseHandler } from '../http1/client-connection.ts';
import { Framing } from '../http1/framing.ts';
import type { Refusal } from '../http1/refusal.ts';
import { Method, METHODS, type RequestHead } from '../http1/request-head.ts';
import type { ResponseHead } from '../http1/response-head.ts';
import type { RequestHandler, ServerConnection } from '../http1/server-connection.ts';
import { LOWER } from '../http1/syntax.ts';
import { READ_BUFFER_BYTES } from '../http1/transport.ts';
import { METHODS as METER_METHODS, type MethodIndex, type RetryReason } from '../telemetry/closed-sets.ts';
import type { Member } from '../upstream/directory.ts';
import type { PooledConnection } from '../upstream/pool.ts';
import { AccessEntry } from './access-entry.ts';
import type { ProxyContext, Route } from './context.ts';
import {
  type Forwarding,
  forwarding,
  HEAD_ROOM_BYTES,
  type WrittenRequest,
  writeRequestHead,
  writeResponseHead,
} from './headers.ts';
import { KeptBody } from './kept-body.ts';
import { renderReply } from './reply.ts';
import { mayRetry, type Sent } from './retry.ts';
import { Tunnel, writeStaged } from './tunnel.ts';

/** RFC 9110 section 9.2.2, by index into METHODS. An unknown method may do anything. */
const IDEMPOTENT: readonly boolean[] = METHODS.map((name) =>
  ['GET', 'HEAD', 'PUT', 'DELETE', 'OPTIONS'].includes(name),
);

const Phase = { idle: 0, reading: 1, connecting: 2, waiting: 3, streaming: 4, tunnel: 5 } as const;

/** Attempts remembered, so that each goes to another instance. Retries are limited below this by the schema. */
const MAX_TRIED = 16;
/** A request body waiting for its connection may grow to this before the client is held back. */
const HOLD_BACK_BYTES = 65_536;
/** Share of a new sample in the average time to the response head. */
const LATENCY_WEIGHT = 0.1;
/** How far one sample moves the estimate of the p99, in averages. */
const QUANTILE_STEP = 0.5;
const HEAD_BYTES = 2048;
const MAX_SPARE_HEADS = 1024;

const spareHeads: Buffer[] = [];
const written: WrittenRequest = { end: 0, idStart: 0, idEnd: 0 };

/**
 * One request after another on one client connection:
 *
 * 1. Route: the host to a service.
 * 2. Rewrite: the head that every attempt sends.
 * 3. Pick: a balancer's choice that its breaker lets through.
 * 4. Connect: a pooled connection, or a new one.
 * 5. Send: head and body; the body is kept while a retry may need it.
 * 6. Response: its head to the client, from here on there is no retry.
 * 7. Stream: the response body, with backpressure.
 * 8. Settle: breaker, figures, pool, meters, log.
 */
export class Exchange extends LazyTimer implements RequestHandler, ResponseHandler {
  connection!: ServerConnection;
  readonly #context: ProxyContext;
  #phase: number = Phase.idle;
  #forwarding: Forwarding | undefined;

  // Of the request.
  #route: Route | undefined;
  #lastHost: Buffer | undefined;
  #lastRevision = -1;
  #lastRoute: Route | undefined;
  #method = 0;
  #oldClient = false;
  #keepAlive = true;
  #expects = false;
  #websocket = false;
  #head: Buffer | undefined;
  #headEnd = 0;
  #idStart = 0;
  #idEnd = 0;
  #hasBody = false;
  #requestEnded = false;
  readonly #kept = new KeptBody();
  #beganMs = 0;
  #access: AccessEntry | undefined;

  // Of the attempts.
  readonly #tried = new Int32Array(MAX_TRIED);
  #triedCount = 0;
  #attempts = 0;
  #slot = -1;
  #member: Member | undefined;
  #permit: Permit | undefined;
  #upstream: PooledConnection | undefined;
  #cancelConnect: (() => void) | undefined;
  #sent: Sent = 'nothing';
  #attemptBeganMs = 0;
  #upstreamMs = 0;

  // Of the response.
  #status = 0;
  #output: OutputKind = Output.wire;
  #closeAfter = false;
  /** End of a response head in the stage that has not been written yet; 0 = none. */
  #stagedEnd = 0;
  /** The body took more than one read. */
  #streamed = false;
  #bytesIn = 0;
  #bytesOut = 0;
  #tunnel: Tunnel | undefined;

  constructor(context: ProxyContext) {
    super(context.wheel);
    this.#context = context;
  }

  /** The slot this exchange waits on for a response head, or -1. */
  get waitingOn(): number {
    return this.#phase === Phase.connecting || this.#phase === Phase.waiting ? this.#slot : -1;
  }

  /** When the current attempt began, on the context's clock. */
  get attemptBeganMs(): number {
    return this.#attemptBeganMs;
  }

  // Steps 1 and 2.
  onRequest(head: RequestHead, buffer: Buffer): void {
    const context = this.#context;
    this.#beganMs = context.clock.now();
    context.requests++;
    this.#phase = Phase.reading;
    this.#method = head.method;
    this.#oldClient = head.minorVersion === 0;
    this.#keepAlive = head.keepAlive;
    this.#expects = head.expectsContinue;
    this.#hasBody = head.framing !== Framing.none;
    this.#requestEnded = false;
    this.#triedCount = 0;
    this.#attempts = 0;
    this.#upstreamMs = 0;
    this.#status = 0;
    this.#bytesIn = 0;
    this.#bytesOut = 0;
    this.#slot = -1;
    this.#member = undefined;
    this.#route = this.#findRoute(head, buffer);
    this.#websocket = head.wantsWebsocket && (this.#route?.service.policy.websocket ?? false);
    this.#rewrite(head, buffer);
    if (context.accessLog) (this.#access ??= new AccessEntry()).capture(head, buffer, context.clock.wall());
    if (!this.#route) {
      this.#fail('no-route', 'no service is configured or registered for this host');
      return;
    }
    if (context.requests > context.maxRequests) {
      this.#fail('overloaded', 'the gateway has as many requests under way as gateway.limits.requests allows');
      return;
    }
    this.#route.budget.deposit();
    if (!this.#hasBody) return;
    this.#kept.begin(this.#route.service.policy.retry.maxBodyBytes);
    // A client that waits for 100 sends nothing before the instance has seen the head.
    if (this.#expects) this.#attempt();
  }

  onRequestBody(buffer: Buffer, start: number, end: number): void {
    this.#bytesIn += end - start;
    switch (this.#phase) {
      case Phase.reading:
        this.#kept.append(buffer, start, end);
        this.#attempt();
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

  onRequestEnd(): void {
    this.#requestEnded = true;
    if (this.#phase === Phase.reading) this.#attempt();
    else if (this.#phase === Phase.waiting) this.#awaitResponse();
  }

  // Step 3.
  #attempt(): void {
    const route = this.#route as Route;
    const { figures, fleet } = this.#context;
    const { service } = route;
    const maxInflight = service.policy.maxInflightPerInstance;
    let crowded = false;
    while (this.#triedCount < MAX_TRIED) {
      const slot = this.#pick();
      if (slot < 0) break;
      this.#tried[this.#triedCount++] = slot;
      if (maxInflight > 0 && (figures.inflight[slot] as number) >= maxInflight) {
        crowded = true;
        continue;
      }
      const member = fleet.members[slot];
      const permit = member?.admit();
      if (!member || !permit) continue;
      this.#slot = slot;
      this.#member = member;
      this.#permit = permit;
      (figures.inflight[slot] as number)++;
      (figures.attempts[slot] as number)++;
      this.#attempts++;
      this.#sent = 'nothing';
      this.#attemptBeganMs = this.#attempts === 1 ? this.#beganMs : this.#context.clock.now();
      this.#connect(member);
      return;
    }
    this.#failUnpicked(crowded);
  }

  #pick(): number {
    const { service } = this.#route as Route;
    const { view } = service;
    if (view.trials.length > 0 && (view.slots.length === 0 || (this.#attempts === 0 && this.#replayable))) {
      const trial = service.takeTrial();
      if (trial >= 0 && !this.#wasTried(trial)) return trial;
    }
    return service.balancer.pick(view, this.#tried, this.#triedCount);
  }

  #wasTried(slot: number): boolean {
    for (let i = 0; i < this.#triedCount; i++) if (this.#tried[i] === slot) return true;
    return false;
  }

  /** Whether doing it again would do no harm as things stand. */
  get #replayable(): boolean {
    return IDEMPOTENT[this.#method] === true && (!this.#hasBody || this.#kept.whole) && !this.#websocket;
  }

  #failUnpicked(crowded: boolean): void {
    const { view } = (this.#route as Route).service;
    if (crowded) this.#fail('overloaded', 'every instance has as many requests as maxInflightPerInstance allows');
    else if (view.empty === 'all-breakers-open' || view.empty === undefined)
      this.#fail('overloaded', 'the breaker of every instance is open');
    else if (view.empty === 'none-registered') this.#fail('no-instance', 'no instance is registered');
    else this.#fail('no-instance', 'no registered instance is healthy and in rotation');
  }

  // Step 4.
  #connect(member: Member): void {
    const { pool, clock } = this.#context;
    const idle = pool.take(this.#slot, !this.#replayable);
    if (idle) {
      this.#upstream = idle;
      this.#send();
      return;
    }
    this.#phase = Phase.connecting;
    this.setDeadline(clock.now() + member.service.policy.timeouts.connectMs);
    this.#cancelConnect = pool.connect(this.#slot, member.instance, (connection, code) => {
      this.#cancelConnect = undefined;
      if (!connection) {
        this.#attemptFailed('connect-failed', code ?? 'unknown');
        return;
      }
      this.#upstream = connection;
      this.#send();
    });
  }

  // Step 5.
  #send(): void {
    const { client } = this.#upstream as PooledConnection;
    const { stage } = this.#context;
    this.#phase = Phase.waiting;
    this.#sent = 'partial';
    client.begin(this, this.#method === Method.head);
    const head = this.#head as Buffer;
    const body = this.#hasBody ? this.#kept.bytes : undefined;
    let taken: boolean;
    if (body === undefined) {
      taken = client.transport.write(head, 0, this.#headEnd);
    } else {
      stage.reserve(this.#headEnd + this.#kept.length);
      const at = stage.start;
      let end = at + head.copy(stage.buffer, at, 0, this.#headEnd);
      end += body.copy(stage.buffer, end, 0, this.#kept.length);
      taken = client.transport.write(stage.buffer, at, end);
      if (!taken) stage.pin(end);
      if (!this.#replayable || this.#kept.overLimit) this.#kept.letGo();
    }
    if (this.#requestEnded) {
      this.#awaitResponse();
    } else if (!this.#hasBody) {
      // onRequestEnd follows in this very turn.
      this.clearDeadline();
    } else {
      this.clearDeadline();
      if (taken) this.connection.resumeBody();
      else this.#holdBack();
    }
  }

  #sendBody(buffer: Buffer, start: number, end: number): void {
    if (this.#kept.whole) {
      if (this.#replayable) this.#kept.append(buffer, start, end);
      if (!this.#replayable || this.#kept.overLimit) this.#kept.letGo();
    }
    const { transport } = (this.#upstream as PooledConnection).client;
    if (!writeStaged(this.#context.stage, transport, buffer, start, end)) this.#holdBack();
  }

  /** The instance takes no more of the body for now. */
  #holdBack(): void {
    this.connection.pauseBody();
    this.setDeadline(this.#context.clock.now() + (this.#route as Route).service.policy.timeouts.bodyIdleMs);
  }

  #awaitResponse(): void {
    this.#sent = 'complete';
    this.setDeadline(this.#context.clock.now() + (this.#route as Route).service.policy.timeouts.responseHeadMs);
  }

  onRequestDrain(): void {
    if (this.#tunnel) {
      this.#tunnel.instanceDrained();
      return;
    }
    if (!this.#requestEnded && this.#phase === Phase.waiting) this.clearDeadline();
    this.connection.resumeBody();
  }

  onInformational(head: ResponseHead, buffer: Buffer): void {
    if (this.#oldClient || this.#phase !== Phase.waiting) return;
    const { stage } = this.#context;
    stage.reserve((head.nameStart[head.count] as number) + HEAD_ROOM_BYTES);
    const end = writeResponseHead(head, buffer, stage.buffer, stage.start, PLAIN_SHAPE);
    if (!this.connection.transport.write(stage.buffer, stage.start, end)) stage.pin(end);
  }

  // Step 6.
  onResponse(head: ResponseHead, buffer: Buffer): OutputKind {
    const nowMs = this.#context.clock.now();
    this.#status = head.status;
    this.#upstreamMs += nowMs - this.#attemptBeganMs;
    if (head.status === 101 && !(this.#websocket && head.switchesToWebsocket)) {
      this.#attemptFailed('protocol-error', 'an upgrade that was not asked for');
      return Output.wire;
    }
    this.#context.figures.lastSuccessMs[this.#slot] = nowMs;
    this.#sampleLatency(nowMs - this.#attemptBeganMs);
    this.#phase = Phase.streaming;
    this.clearDeadline();
    // A trial decides at the head: a long body must not keep the breaker waiting.
    if (this.#permit?.trial) this.#judge(this.#outcomeOf(head.status));
    this.#output = this.#outputFor(head);
    const untilClose = this.#oldClient && (head.framing === Framing.chunked || head.framing === Framing.untilClose);
    this.#closeAfter = !this.#keepAlive || untilClose || !this.#requestEnded || this.#context.stopping;
    this.#stageResponse(head, buffer);
    if (head.status === 101) this.#beginTunnel();
    return this.#output;
  }

  #outputFor(head: ResponseHead): OutputKind {
    if (this.#oldClient && head.framing === Framing.chunked) return Output.content;
    if (!this.#oldClient && head.framing === Framing.untilClose) return Output.chunked;
    return Output.wire;
  }

  #stageResponse(head: ResponseHead, buffer: Buffer): void {
    const { stage } = this.#context;
    stage.reserve((head.nameStart[head.count] as number) + HEAD_ROOM_BYTES + READ_BUFFER_BYTES);
    this.#stagedEnd = writeResponseHead(head, buffer, stage.buffer, stage.start, {
      output: this.#output,
      close: this.#closeAfter,
      sayKeepAlive: this.#oldClient,
      websocket: head.status === 101,
    });
  }

  // Step 7.
  onResponseBody(buffer: Buffer, start: number, end: number): void {
    const { stage } = this.#context;
    const { client } = this.#upstream as PooledConnection;
    this.#bytesOut += end - start;
    let taken: boolean;
    if (this.#stagedEnd > 0 && this.#stagedEnd + end - start > stage.buffer.length) this.#flush();
    if (this.#stagedEnd > 0) {
      this.#stagedEnd += buffer.copy(stage.buffer, this.#stagedEnd, start, end);
      taken = this.#flush();
    } else if (buffer === client.bulk) {
      taken = this.connection.transport.write(buffer, start, end);
    } else {
      taken = writeStaged(stage, this.connection.transport, buffer, start, end);
    }
    if (taken) {
      if (this.#streamed) this.#expectBody();
      return;
    }
    client.pause();
    this.clearDeadline();
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

  onResponsePause(): void {
    if (this.#stagedEnd > 0) this.#flush();
    this.#streamed = true;
    if (!this.connection.transport.writing) this.#expectBody();
  }

  #expectBody(): void {
    this.setDeadline(this.#context.clock.now() + (this.#route as Route).service.policy.timeouts.bodyIdleMs);
  }

  onClientDrain(): void {
    if (this.#tunnel) {
      this.#tunnel.clientDrained();
    } else if (this.#phase === Phase.streaming) {
      this.#upstream?.client.resume();
      this.#expectBody();
    }
  }

  // Step 8.
  onResponseEnd(): boolean {
    if (this.#stagedEnd > 0) this.#flush();
    const route = this.#route as Route;
    const upstream = this.#upstream as PooledConnection;
    this.#upstream = undefined;
    this.#settle(this.#outcomeOf(this.#status));
    if (this.#requestEnded) this.#context.pool.give(upstream, route.service.policy.maxIdleConnections);
    else upstream.client.abandon();
    const writing = this.connection.transport.writing;
    this.#finish(undefined, !this.#closeAfter);
    return !writing;
  }

  #outcomeOf(status: number): Outcome {
    return (this.#route as Route).service.policy.breaker.failureStatuses.has(status) ? 'bad-status' : 'success';
  }

  /** Tells the breaker and the meters how the attempt ended. Once: later calls find no permit. */
  #judge(outcome: Outcome): void {
    const permit = this.#permit;
    if (!permit) return;
    this.#permit = undefined;
    permit.settle(outcome);
    (this.#route as Route).meters.attempt(outcome);
  }

  /** Judges, and gives back the place among the requests in flight: here and nowhere else. */
  #settle(outcome: Outcome): void {
    this.#judge(outcome);
    const member = this.#member;
    if (!member) return;
    this.#member = undefined;
    const { figures, fleet } = this.#context;
    (figures.inflight[this.#slot] as number)--;
    if (member.leaving) fleet.released(member);
  }

  onResponseFailed(kind: 'reset' | 'protocol', reason: string): void {
    if (this.#tunnel) {
      this.#endTunnel();
      return;
    }
    const outcome = kind === 'reset' ? 'reset' : 'protocol-error';
    if (this.#phase !== Phase.streaming) {
      this.#attemptFailed(outcome, reason);
      return;
    }
    // Half an answer is out: the client must see that it is half.
    this.#breakOff(outcome, kind === 'reset' ? 'upstream-reset' : 'upstream-protocol');
  }

  #breakOff(outcome: Outcome, kind: FailureKind): void {
    this.#dropUpstream();
    this.#settle(outcome);
    this.#stagedEnd = 0;
    this.connection.abort();
    this.#finish(kind, false);
  }

  #dropUpstream(): void {
    this.#cancelConnect?.();
    this.#cancelConnect = undefined;
    this.#upstream?.client.abandon();
    this.#upstream = undefined;
  }

  /** The attempt came to nothing before a response head: another one, or an answer of our own. */
  #attemptFailed(outcome: Outcome, reason: string, retryReason: RetryReason | undefined = reasonOf(outcome)): void {
    const route = this.#route as Route;
    const responseBegan = this.#upstream?.client.responseBegan ?? false;
    const nowMs = this.#context.clock.now();
    if (this.#phase === Phase.waiting && this.#status === 0) this.#upstreamMs += nowMs - this.#attemptBeganMs;
    this.clearDeadline();
    this.#dropUpstream();
    this.#settle(outcome);
    this.#phase = Phase.reading;
    const moved = retryReason === 'ejected';
    const safe = mayRetry({
      sent: this.#sent,
      idempotent: IDEMPOTENT[this.#method] === true,
      bodyReplayable: !this.#hasBody || this.#kept.whole,
      responseBegan,
      attemptsLeft: route.service.policy.retry.attempts + 1 - this.#attempts + (moved ? 1 : 0),
    });
    if (safe && this.#status === 0) {
      if (moved) route.budget.charge();
      if (moved || route.budget.withdraw(nowMs)) {
        if (retryReason) route.meters.retry(retryReason);
        this.#retry(outcome, reason);
        return;
      }
      route.meters.budgetExhausted();
    }
    this.#answerFailure(outcome, reason);
  }

  #retry(outcome: Outcome, reason: string): void {
    const { view } = (this.#route as Route).service;
    // Nobody else is left: say what went wrong rather than that nobody is left.
    const another = view.trials.length > 0 || (this.#triedCount < MAX_TRIED && this.#pick() >= 0);
    if (another) this.#attempt();
    else this.#answerFailure(outcome, reason);
  }

  #answerFailure(outcome: Outcome, reason: string): void {
    switch (outcome) {
      case 'connect-failed':
        this.#fail('connect-failed', `the instance could not be reached (${reason})`);
        return;
      case 'timeout':
        this.#fail('upstream-timeout', 'the instance did not answer in time');
        return;
      case 'protocol-error':
        this.#fail('upstream-protocol', `the instance did not answer in HTTP (${reason})`);
        return;
      case 'reset':
      case 'bad-status':
      case 'cancelled':
      case 'success':
        this.#fail('upstream-reset', `the instance broke the connection (${reason})`);
    }
  }

  /** The instance is being ejected: an attempt that still waits on it moves on where that does no harm. */
  moveOff(): void {
    if (this.waitingOn < 0 || !(this.#phase === Phase.connecting || this.#replayable)) return;
    const { service } = this.#route as Route;
    if (service.balancer.pick(service.view, this.#tried, this.#triedCount) < 0) return;
    this.#attemptFailed('cancelled', 'ejected', 'ejected');
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
        this.#breakOff('timeout', 'upstream-timeout');
        break;
      case Phase.tunnel:
        this.#endTunnel();
        break;
      default:
    }
  }

  onRefused(refusal: Refusal | undefined, answered: boolean): void {
    const context = this.#context;
    context.onRefused(refusal?.reason ?? 'too-slow');
    if (answered) {
      // The head may be with an instance already: its connection must never be used again.
      this.#dropUpstream();
      this.#settle('cancelled');
      if (this.#phase === Phase.streaming) {
        this.connection.abort();
        this.#finish(refusal ? 'bad-request' : 'request-timeout', false);
        return;
      }
      if (this.#phase === Phase.idle) return;
    } else {
      this.#beganMs = context.clock.now();
      context.requests++;
      this.#phase = Phase.reading;
      this.#route = undefined;
      this.#method = Method.other;
      this.#attempts = 0;
      this.#upstreamMs = 0;
      this.#bytesIn = 0;
      this.#bytesOut = 0;
      this.#access?.clear(context.clock.wall());
    }
    this.#keepAlive = false;
    this.#fail(
      refusal ? 'bad-request' : 'request-timeout',
      refusal?.detail ?? 'the request did not come in time',
      refusal?.status,
    );
  }

  onClientGone(): void {
    if (this.#phase === Phase.idle) return;
    if (this.#tunnel) {
      this.#endTunnel();
      return;
    }
    this.#dropUpstream();
    this.#settle('cancelled');
    this.#finish('client-gone', false);
  }

  onClientStalled(): void {
    if (this.#phase === Phase.idle) return;
    this.#dropUpstream();
    this.#settle('cancelled');
    this.connection.abort();
    this.#finish('client-gone', false);
  }

  onConnectionClosed(): void {
    this.releaseTimer();
    this.#lastRoute = undefined;
    this.onClosed?.();
  }

  /** Set by the owner of the connection. */
  onClosed: (() => void) | undefined;

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

  #expectTunnel(): void {
    this.setDeadline(this.#context.clock.now() + (this.#route as Route).service.policy.timeouts.tunnelIdleMs);
  }

  #beginTunnel(): void {
    const { client } = this.#upstream as PooledConnection;
    this.#flush();
    this.#judge('success');
    this.#phase = Phase.tunnel;
    this.#expectTunnel();
    this.#tunnel = new Tunnel(this.connection.transport, client.transport, this.#context.stage);
    this.connection.tunnel();
  }

  #endTunnel(): void {
    const tunnel = this.#tunnel;
    if (!tunnel) return;
    this.#bytesIn += tunnel.bytesIn;
    this.#bytesOut += tunnel.bytesOut;
    this.#tunnel = undefined;
    this.#dropUpstream();
    this.#settle('success');
    this.#finish(undefined, false);
  }

  #findRoute(head: RequestHead, buffer: Buffer): Route | undefined {
    const { router } = this.#context;
    const length = head.hostEnd - head.hostStart;
    const last = this.#lastHost;
    if (this.#lastRoute && this.#lastRevision === router.revision && last?.length === length) {
      let i = 0;
      while (i < length && last[i] === LOWER[buffer[head.hostStart + i] as number]) i++;
      if (i === length) return this.#lastRoute;
    }
    const host = buffer.toString('latin1', head.hostStart, head.hostEnd).toLowerCase();
    const route = router.route(host);
    this.#lastRoute = route;
    this.#lastRevision = router.revision;
    this.#lastHost = Buffer.from(host, 'latin1');
    return route;
  }

  #rewrite(head: RequestHead, buffer: Buffer): void {
    const size = (head.nameStart[head.count] as number) - head.methodStart;
    const { transport } = this.connection;
    this.#forwarding ??= forwarding(
      transport.remoteAddress,
      transport.localPort,
      transport.encrypted,
      this.#context.isTrustedProxy(transport.remoteAddress),
    );
    const needed = size + HEAD_ROOM_BYTES + (head.authorityEnd - head.authorityStart);
    this.#head =
      needed <= HEAD_BYTES ? (spareHeads.pop() ?? Buffer.allocUnsafeSlow(HEAD_BYTES)) : Buffer.allocUnsafeSlow(needed);
    writeRequestHead(head, buffer, this.#head, this.#forwarding, this.#context.ids, this.#websocket, written);
    this.#headEnd = written.end;
    this.#idStart = written.idStart;
    this.#idEnd = written.idEnd;
  }

  get #requestId(): string {
    if (!this.#head) {
      const made = Buffer.alloc(64);
      return made.toString('latin1', 0, this.#context.ids.write(made, 0));
    }
    return this.#head.toString('latin1', this.#idStart, this.#idEnd);
  }

  #sampleLatency(sampleMs: number): void {
    const { latencyMs, latencyP99Ms } = this.#context.figures;
    const slot = this.#slot;
    const average = latencyMs[slot] as number;
    latencyMs[slot] = average === 0 ? sampleMs : average + (sampleMs - average) * LATENCY_WEIGHT;
    // Frugal streaming estimate: at rest where one sample in a hundred lies above.
    const step = (latencyMs[slot] as number) * QUANTILE_STEP;
    const quantile = (latencyP99Ms[slot] as number) || sampleMs;
    latencyP99Ms[slot] = sampleMs > quantile ? quantile + step * 0.99 : quantile - step * 0.01;
  }

  /** Answers in the instance's place. */
  #fail(kind: FailureKind, detail: string, status?: number): void {
    const meaning = FAILURES[kind];
    this.#status = status ?? meaning.status;
    const close = !this.#keepAlive || !this.connection.requestComplete || this.#context.stopping;
    const reply = renderReply({
      kind,
      status,
      detail,
      requestId: this.#requestId,
      retryAfterSeconds: this.#retryAfterSeconds,
      close,
      omitBody: this.#method === Method.head,
      keepAliveForOldClient: this.#oldClient && !close,
    });
    const bytes = Buffer.from(reply, 'latin1');
    this.#bytesOut += bytes.length;
    this.connection.transport.write(bytes, 0, bytes.length);
    this.#finish(kind, !close);
  }

  get #retryAfterSeconds(): number {
    const checks = this.#route?.service.policy.checks ?? [];
    const soonestMs = Math.min(30_000, ...checks.map((check) => check.intervalMs));
    return Math.max(1, Math.ceil(soonestMs / 1000));
  }

  #finish(failure: FailureKind | undefined, keepAlive: boolean): void {
    const context = this.#context;
    const durationMs = context.clock.now() - this.#beganMs;
    // What neither instance nor client took. Of a body that came in pieces only they know how long it took.
    const overheadMs = this.#streamed ? 0 : Math.max(0, durationMs - this.#upstreamMs);
    const status = failure === 'client-gone' ? FAILURES[failure].status : this.#status;
    (this.#route?.meters ?? context.strayMeters).request(
      METER_INDEX[this.#method] as MethodIndex,
      status,
      durationMs,
      overheadMs,
    );
    if (context.accessLog && this.#access) {
      this.#access.complete(this.connection.transport.remoteAddress, this.#requestId, {
        route: this.#route,
        instance: this.#slot < 0 ? undefined : context.fleet.members[this.#slot]?.instance.id,
        status,
        failure,
        attempts: this.#attempts,
        durationMs,
        upstreamMs: this.#upstreamMs,
        overheadMs,
        bytesIn: this.#bytesIn,
        bytesOut: this.#bytesOut,
      });
      context.accessLog.write(this.#access.record);
    }
    context.requests--;
    this.#phase = Phase.idle;
    this.#streamed = false;
    this.clearDeadline();
    const head = this.#head;
    this.#head = undefined;
    if (head?.length === HEAD_BYTES && spareHeads.length < MAX_SPARE_HEADS) spareHeads.push(head);
    if (this.#hasBody) this.#kept.letGo();
    this.connection.finish(keepAlive && !context.stopping);
  }
}

const PLAIN_SHAPE = { output: Output.wire, close: false, sayKeepAlive: false, websocket: false } as const;

const METER_INDEX: readonly number[] = METHODS.map((name) => METER_METHODS.indexOf(name));

function reasonOf(outcome: Outcome): RetryReason | undefined {
  return outcome === 'success' || outcome === 'cancelled' ? undefined : outcome;
}
