import type { FailureKind } from '../core/failure.ts';
import { LazyTimer } from '../core/lazy-timer.ts';
import type { Outcome } from '../core/outcome.ts';
import { isOwnShortage } from '../core/socket-budget.ts';
import type { ClientConnection, ResponseHandler } from '../http1/client-connection.ts';
import { Method } from '../http1/request-head.ts';
import type { ServerConnection } from '../http1/server-connection.ts';
import type { PooledConnection } from '../upstream/pool.ts';
import type { Attempt } from './attempt.ts';
import type { ProxyContext, Route } from './context.ts';
import type { OutgoingRequest } from './outgoing-request.ts';
import type { PlaceQueues, PlaceSeeker } from './place-queue.ts';
import { failureOf, unpicked } from './reply.ts';
import type { Waiter, WaitingList } from './waiting.ts';

const Phase = { over: 0, reading: 1, queued: 2, connecting: 3, waiting: 4 } as const;

/** Where the deliveries of one thread wait. */
export interface Waits {
  /** For a response head. */
  readonly waiting: WaitingList<Delivery>;
  /** For a place on an instance. */
  readonly queues: PlaceQueues;
}

/** Whose request is delivered. It hears the responses of the connections itself. */
export interface Sender extends ResponseHandler {
  readonly connection: Pick<ServerConnection, 'pauseBody' | 'resumeBody'>;
  /** No instance has answered, and none will: what the client is to be told. */
  onUndelivered(kind: FailureKind, detail: string): void;
}

export interface DeliveryParts {
  readonly sender: Sender;
  readonly request: OutgoingRequest;
  readonly attempt: Attempt;
  readonly waits: Waits;
}

/**
 * One request after another on the way to an instance, until the head of a response comes from there: steps 3 to 5 of an
 * exchange, and again with another instance where an attempt came to nothing. Times what it waits for: a place, a
 * connection, the instance that takes the body, the head.
 */
export class Delivery extends LazyTimer implements Waiter, PlaceSeeker {
  waitingAt = -1;
  readonly #context: ProxyContext;
  readonly #sender: Sender;
  readonly #request: OutgoingRequest;
  readonly #attempt: Attempt;
  readonly #waiting: WaitingList<Delivery>;
  readonly #queues: PlaceQueues;
  #phase: number = Phase.over;
  #route!: Route;
  #beganMs = 0;
  #leaveLine: (() => void) | undefined;

  constructor(context: ProxyContext, { sender, request, attempt, waits }: DeliveryParts) {
    super(context.wheel);
    this.#context = context;
    this.#sender = sender;
    this.#request = request;
    this.#attempt = attempt;
    this.#waiting = waits.waiting;
    this.#queues = waits.queues;
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

  /** A request has come, at `nowMs`. It is sent once `bringBody`, `requestEnded` or `tryNext` says so. */
  begin(route: Route, nowMs: number): void {
    this.#route = route;
    this.#beganMs = nowMs;
    this.#phase = Phase.reading;
  }

  /** Part of the body has come from the client. */
  bringBody(buffer: Buffer, start: number, end: number): void {
    switch (this.#phase) {
      case Phase.reading:
        this.#request.arrive(buffer, start, end);
        this.tryNext();
        this.#request.endArrival(this.#isHeld);
        break;
      case Phase.queued:
      case Phase.connecting:
        if (!this.#request.keep(buffer, start, end)) this.#sender.connection.pauseBody();
        break;
      default:
        if (!this.#request.sendBody(this.#client.transport, buffer, start, end)) this.#holdBack();
    }
  }

  /** What comes of the body has to wait. */
  get #isHeld(): boolean {
    return this.#phase === Phase.queued || this.#phase === Phase.connecting;
  }

  /** All of the request has come. */
  requestEnded(): void {
    if (this.#phase === Phase.reading) this.tryNext();
    else if (this.#phase === Phase.waiting) this.#awaitResponse();
  }

  // Steps 3 and 4.
  tryNext(): void {
    // First come, first served.
    if (this.#queues.isWaitedFor(this.#route.service) || !this.#tryPlace()) this.#waitForPlace();
  }

  /** False where every instance has as many requests as it may. */
  #tryPlace(): boolean {
    const route = this.#route;
    const attempt = this.#attempt;
    const { replayable } = this.#request;
    // The first attempt of a request without a body begins in the turn of its head.
    const first = attempt.count === 0;
    const atOnce = first && !this.#request.hasBody && this.#phase !== Phase.queued;
    const nowMs = atOnce ? this.#beganMs : this.#context.clock.now();
    const member = attempt.begin(route, replayable && first, nowMs);
    if (member === 'crowded') return false;
    this.#leaveQueue();
    if (member === 'none') {
      const failure = unpicked(route.service.view);
      this.#sender.onUndelivered(failure.kind, failure.detail);
      return true;
    }
    this.#waiting.add(this);
    if (attempt.connect(!replayable, this.#onConnected)) this.#send();
    else this.#awaitConnection();
    return true;
  }

  #waitForPlace(): void {
    const { service, meters } = this.#route;
    this.#leaveLine = this.#queues.join(service, this);
    if (!this.#leaveLine) {
      meters.queueRejected('full');
      this.#sender.onUndelivered(
        'overloaded',
        'every instance has as many requests as it may, and as many wait as may',
      );
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
    const { meters } = this.#route;
    this.#phase = Phase.reading;
    this.#leaveLine?.();
    this.#leaveLine = undefined;
    meters.queued(-1);
  }

  #awaitConnection(): void {
    this.#phase = Phase.connecting;
    this.setDeadline(this.#context.clock.now() + this.#timeouts.connectMs);
  }

  readonly #onConnected = (code: string | undefined): void => {
    if (code === undefined) this.#send();
    else if (isOwnShortage(code)) this.#ranOut(code);
    else this.failed('connect-failed', code);
  };

  /** No socket for a connection: whoever was picked had no part in it, and nobody else would fare better. */
  #ranOut(code: string): void {
    this.clearDeadline();
    this.#attempt.breakOff(this.#route, 'cancelled');
    this.#sender.onUndelivered(
      'overloaded',
      `the gateway has no socket left for a connection to an instance (${code})`,
    );
  }

  // Step 5.
  #send(): void {
    const client = this.#client;
    const request = this.#request;
    this.#phase = Phase.waiting;
    this.#attempt.sent = 'partial';
    client.begin(this.#sender, request.method === Method.head);
    const taken = request.send(client);
    if (request.ended) this.#awaitResponse();
    // Without a body, requestEnded follows in this very turn.
    else if (taken) this.goOn();
    else this.#holdBack();
  }

  /** The instance takes no more of the body for now. */
  #holdBack(): void {
    this.#sender.connection.pauseBody();
    this.setDeadline(this.#context.clock.now() + this.#timeouts.bodyIdleMs);
  }

  /** The instance has taken what there was of the body. */
  goOn(): void {
    if (!this.#request.ended) this.clearDeadline();
    this.#sender.connection.resumeBody();
  }

  #awaitResponse(): void {
    this.#attempt.sent = 'complete';
    const sinceMs = this.#request.hasBody ? this.#context.clock.now() : this.#attempt.beganMs;
    this.setDeadline(sinceMs + this.#timeouts.responseHeadMs);
  }

  /** A response head has come, at `nowMs`: from here on there is no other attempt. */
  answered(status: number, nowMs: number): void {
    this.#attempt.answered(this.#route, status, nowMs);
    this.#waiting.answered(this);
    this.#phase = Phase.over;
    this.clearDeadline();
  }

  /** The connection broke before a response head, or what came on it was none. */
  broken(kind: 'reset' | 'protocol', reason: string): void {
    const { reused, upstream } = this.#attempt;
    // What waits for the end of the turn has not left: then even a request that may not be repeated can go elsewhere.
    const harmless = this.#request.replayable || upstream?.client.transport.batch !== undefined;
    const stale = kind === 'reset' && reused && !upstream?.client.responseBegan && harmless;
    if (stale) {
      this.#reconnect();
      return;
    }
    if (kind === 'reset') this.#attempt.knock();
    this.failed(kind === 'reset' ? 'reset' : 'protocol-error', reason);
  }

  /** The instance closed an idle connection as we took it: nobody's failure, and no other instance is needed. */
  #reconnect(): void {
    this.#attempt.connectAnew(this.#onConnected);
    this.#awaitConnection();
  }

  /** The attempt came to nothing before a response head: another one, or an answer of our own. */
  failed(outcome: Outcome, reason: string, moved = false): void {
    this.clearDeadline();
    this.#waiting.remove(this);
    this.#phase = Phase.reading;
    if (this.#attempt.failed(this.#route, this.#request, outcome, moved, this.#context.clock.now())) {
      this.tryNext();
      return;
    }
    const failure = failureOf(outcome, reason);
    this.#sender.onUndelivered(failure.kind, failure.detail);
  }

  /** The instance is being ejected: an attempt that still waits on it moves on where that does no harm. */
  moveOff(): void {
    if (this.#movable) this.failed('cancelled', 'ejected', true);
  }

  /** It has waited for long, and nobody knows whether its instance hangs: a peer is asked, where a retry may be made. */
  askElsewhere(): boolean {
    if (!this.#movable || !this.#attempt.leave(this.#route, this.#request, this.#context.clock.now())) return false;
    this.clearDeadline();
    this.#waiting.remove(this);
    this.#phase = Phase.reading;
    this.tryNext();
    return true;
  }

  /** The trial has taken too long already: whatever comes of it, it has failed. */
  failTrial(): void {
    if (this.#movable) this.failed('timeout', 'timeout', true);
    else this.#attempt.judge(this.#route, 'timeout');
  }

  get #movable(): boolean {
    if (this.waitingAt < 0 || !(this.#phase === Phase.connecting || this.#request.replayable)) return false;
    return this.#attempt.othersLeft(this.#route);
  }

  /** The exchange is over, however it ended: nothing here waits any more. */
  end(): void {
    this.#waiting.remove(this);
    this.#leaveQueue();
    this.#phase = Phase.over;
    this.clearDeadline();
  }

  protected override onDeadline(): void {
    switch (this.#phase) {
      case Phase.queued:
        this.#route.meters.queueRejected('timeout');
        this.#sender.onUndelivered(
          'overloaded',
          'every instance has as many requests as it may, and none came free in time',
        );
        break;
      case Phase.connecting:
        this.failed('connect-failed', 'ETIMEDOUT');
        break;
      case Phase.waiting:
        this.failed('timeout', 'timeout');
        break;
      default:
    }
  }

  /** Obligation: only while an attempt holds a connection. */
  get #client(): ClientConnection {
    return (this.#attempt.upstream as PooledConnection).client;
  }

  get #timeouts(): Route['service']['policy']['timeouts'] {
    return this.#route.service.policy.timeouts;
  }
}
