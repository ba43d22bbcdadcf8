import type { Permit } from '../breaker/breaker.ts';
import type { Outcome } from '../core/outcome.ts';
import type { RetryReason } from '../telemetry/closed-sets.ts';
import type { RoutedMember } from '../upstream/directory.ts';
import type { PooledConnection } from '../upstream/pool.ts';
import { adapt, overload } from './adaptive-limit.ts';
import type { ProxyContext, Route } from './context.ts';
import { reportRefusing, reportSilent, type Unanswered } from './evidence.ts';
import { trialLimitMs } from './hang.ts';
import { isLimited, limitOf } from './limits.ts';
import type { PlaceQueues } from './place-queue.ts';
import { mayRetry, type Repeatable, type Sent } from './retry.ts';

/** Attempts remembered, so that each goes to another instance. Retries are limited below this by the schema. */
const MAX_TRIED = 16;

/** The attempts of one request, one at a time: who was tried, and what is held of the one under way. */
export class Attempt {
  /** Attempts made for this request. */
  count = 0;
  /** Instance of the current or the last attempt; -1 = none was made. */
  slot = -1;
  beganMs = 0;
  /** Time spent on all of them, each up to its response head or its failure. */
  upstreamMs = 0;
  sent: Sent = 'nothing';
  /** The connection had served other requests before. */
  reused = false;
  upstream: PooledConnection | undefined;
  readonly #context: ProxyContext;
  readonly #queues: PlaceQueues;
  readonly #tried = new Int32Array(MAX_TRIED);
  #triedCount = 0;
  /** Chosen already for the next attempt; -1 = nobody is. */
  #next = -1;
  /** The view that it was chosen from. Whoever waits for a place in between may find another. */
  #nextRevision = 0;
  /** Attempts taken away from instances that hang or were ejected: they are not among the policy's retries. */
  #moves = 0;
  #unanswered: Unanswered | undefined;
  #member: RoutedMember | undefined;
  #permit: Permit | undefined;
  #cancelConnect: (() => void) | undefined;

  constructor(context: ProxyContext, queues: PlaceQueues) {
    this.#context = context;
    this.#queues = queues;
  }

  /** A new request begins. */
  reset(): void {
    this.count = 0;
    this.slot = -1;
    this.upstreamMs = 0;
    this.#triedCount = 0;
    this.#next = -1;
    this.#moves = 0;
    this.#unanswered = undefined;
  }

  /** Whether somebody is left who was not tried. */
  othersLeft(route: Route): boolean {
    return this.#triedCount < MAX_TRIED && this.#choose(route, false) >= 0;
  }

  /**
   * Picks an instance, passes its breaker and takes a place in flight. `preferTrial`: this request may be the one that
   * a half-open instance is tried with. Returns the member, or why there is none.
   */
  begin(route: Route, preferTrial: boolean, nowMs: number): RoutedMember | 'crowded' | 'none' {
    const { figures, fleet } = this.#context;
    const { policy } = route.service;
    const limited = isLimited(policy);
    const triedBefore = this.#triedCount;
    let crowded = false;
    while (this.#triedCount < MAX_TRIED) {
      const slot = this.#pick(route, preferTrial);
      if (slot < 0) break;
      this.#tried[this.#triedCount++] = slot;
      if (limited && (figures.inflight[slot] as number) >= limitOf(policy, figures, slot)) {
        crowded = true;
        continue;
      }
      const member = fleet.members[slot];
      const permit = member?.admit();
      if (!member || !permit) continue;
      // Another thread may have taken the last place since.
      if (figures.take(slot) >= (limited ? limitOf(policy, figures, slot) : Infinity)) {
        figures.release(slot);
        permit.settle('cancelled');
        crowded = true;
        continue;
      }
      this.slot = slot;
      this.#member = member;
      this.#permit = permit;
      // Whoever had no place may have one for the next attempt.
      this.#tried[triedBefore] = slot;
      this.#triedCount = triedBefore + 1;
      this.count++;
      this.sent = 'nothing';
      this.beganMs = nowMs;
      return member;
    }
    this.#triedCount = triedBefore;
    return crowded ? 'crowded' : 'none';
  }

  #pick(route: Route, preferTrial: boolean): number {
    const chosen = this.#next;
    this.#next = -1;
    const holds = chosen >= 0 && this.#nextRevision === route.service.view.revision;
    return holds ? chosen : this.#choose(route, preferTrial);
  }

  #choose({ service }: Route, preferTrial: boolean): number {
    const { view } = service;
    // Fallback instances are nobody's peers: whoever may come back for them is tried with any request.
    if (view.trials.length > 0 && (preferTrial || view.slots.length === 0 || view.fallback)) {
      const trial = service.takeTrial();
      if (trial >= 0 && !this.#wasTried(trial)) return trial;
    }
    return service.balancer.pick(view, this.#tried, this.#triedCount);
  }

  #wasTried(slot: number): boolean {
    for (let i = 0; i < this.#triedCount; i++) if (this.#tried[i] === slot) return true;
    return false;
  }

  /** A pooled connection at once (true), or a new one through `done`, whatever becomes of it. `fresh`: see Pool.take. */
  connect(fresh: boolean, done: (code: string | undefined) => void): boolean {
    const idle = this.#context.pool.take(this.slot, fresh);
    if (!idle) {
      this.connectAnew(done);
      return false;
    }
    this.reused = true;
    this.upstream = idle;
    return true;
  }

  /** A new connection to the same instance, in place of one that had gone stale. */
  connectAnew(done: (code: string | undefined) => void): void {
    const { pool } = this.#context;
    this.drop();
    this.reused = false;
    this.sent = 'nothing';
    this.#cancelConnect = pool.connect(this.slot, (this.#member as RoutedMember).instance, (connection, code) => {
      this.#cancelConnect = undefined;
      this.upstream = connection;
      if (code === 'ECONNREFUSED') reportRefusing(this.#context, this.slot);
      done(connection ? undefined : (code ?? 'unknown'));
    });
  }

  /** The instance broke the connection: whether it is still there is found out before others run into it. */
  knock(): void {
    if (this.#member) this.#context.pool.knock(this.slot, this.#member.instance);
  }

  /** Closes the connection, made or being made: its state is unknown, so that nobody may use it again. */
  drop(): void {
    this.#cancelConnect?.();
    this.#cancelConnect = undefined;
    this.upstream?.client.abandon();
    this.upstream = undefined;
  }

  /**
   * It came to nothing before a response head. Gives back what it held, and says whether another one may follow.
   * `moved`: it was taken away from an instance that is being ejected.
   */
  failed(route: Route, request: Repeatable, outcome: Outcome, moved: boolean, nowMs: number): boolean {
    if (moved) this.#moves++;
    const safe = this.#isSafe(route, request);
    this.upstreamMs += nowMs - this.beganMs;
    this.breakOff(route, outcome);
    if (!safe || !this.#passOverRefusing(route)) return false;
    // An ejection moves what waits in any case; it counts against those who come later.
    if (moved) route.budget.charge();
    if (!moved && !route.budget.withdraw(nowMs)) {
      route.meters.budgetExhausted();
      return false;
    }
    route.meters.retry(moved ? 'ejected' : (outcome as RetryReason));
    return true;
  }

  /**
   * Gives up an attempt that has waited for long, for a retry with somebody who is there; false, and nothing has changed,
   * where there is nobody or no retry may be made. What comes of it tells whether the instance hangs.
   */
  leave(route: Route, request: Repeatable, nowMs: number): boolean {
    const member = this.#member;
    if (!member || !this.#isSafe(route, request) || !this.#findNext(route)) return false;
    if (!this.#hasRoom(route, this.#next) || !route.budget.withdraw(nowMs)) {
      this.#next = -1;
      return false;
    }
    const waitedMs = nowMs - this.beganMs;
    const silentSinceMs = Math.max(this.beganMs, this.#context.figures.lastSuccessMs[this.slot] as number);
    this.#unanswered = { member, silentSinceMs, waitedMs };
    this.upstreamMs += waitedMs;
    // It is neither a success nor a failure: whether the instance or the request is slow is not known yet.
    this.breakOff(route, 'cancelled');
    route.meters.retry('unanswered');
    return true;
  }

  #isSafe(route: Route, request: Repeatable): boolean {
    return mayRetry({
      sent: this.sent,
      idempotent: request.idempotent,
      bodyReplayable: request.bodyReplayable,
      responseBegan: this.upstream?.client.responseBegan ?? false,
      attemptsLeft: route.service.policy.retry.attempts + 1 - (this.count - this.#moves),
    });
  }

  #hasRoom({ service: { policy } }: Route, slot: number): boolean {
    const { figures } = this.#context;
    return !isLimited(policy) || (figures.inflight[slot] as number) < limitOf(policy, figures, slot);
  }

  #passOverRefusing(route: Route): boolean {
    return route.service.view.trials.length > 0 || this.#findNext(route);
  }

  /**
   * Whether somebody is left to try who has not just refused a connection: where all are gone, each request asks one of
   * them, and an outage costs no retries.
   */
  #findNext(route: Route): boolean {
    const { view, balancer } = route.service;
    while (this.#triedCount < MAX_TRIED) {
      const slot = balancer.pick(view, this.#tried, this.#triedCount);
      if (slot < 0) return false;
      if (!this.#context.pool.refusedLately(slot)) {
        this.#next = slot;
        this.#nextRevision = view.revision;
        return true;
      }
      this.#tried[this.#triedCount++] = slot;
    }
    return false;
  }

  /** Its response head has come, at `nowMs`. */
  answered(route: Route, status: number, nowMs: number): void {
    const { figures } = this.#context;
    const { service } = route;
    const tookMs = nowMs - this.beganMs;
    this.upstreamMs += tookMs;
    if (this.#unanswered) reportSilent(this.#context, this.#unanswered, tookMs);
    figures.answered(this.slot, tookMs, nowMs);
    if (service.policy.adaptiveLimit) {
      if (status === 429 || status === 503) overload(figures, this.slot, nowMs);
      else adapt(figures, this.slot, tookMs, nowMs);
    }
    // A trial decides at the head: a long body must not keep the breaker waiting.
    if (this.isTrial) {
      const outcome = outcomeOf(route, status);
      // Who was out and is still slow stays out.
      const late = outcome === 'success' && tookMs > trialLimitMs(service, figures);
      this.judge(route, late ? 'timeout' : outcome);
    }
  }

  /** It goes no further: its connection is closed, and what it held is given back. */
  breakOff(route: Route | undefined, outcome: Outcome): void {
    this.drop();
    this.settle(route, outcome);
  }

  /** The response has ended. */
  end(route: Route, status: number): void {
    this.settle(route, outcomeOf(route, status));
  }

  /** Whether the breaker waits for this very attempt. */
  get isTrial(): boolean {
    return this.#permit?.trial ?? false;
  }

  /** Tells breaker and meters how it ended. Once: later calls find no permit. */
  judge(route: Route | undefined, outcome: Outcome): void {
    const permit = this.#permit;
    if (!permit) return;
    this.#permit = undefined;
    permit.settle(outcome);
    const { figures } = this.#context;
    if (outcome !== 'success' && outcome !== 'cancelled') figures.failed(this.slot);
    if (outcome === 'timeout' && this.#member?.service.policy.adaptiveLimit)
      overload(figures, this.slot, this.#context.clock.now());
    route?.meters.attempt(outcome);
  }

  /** Judges, and gives back the place in flight: here and nowhere else. */
  settle(route: Route | undefined, outcome: Outcome): void {
    this.judge(route, outcome);
    const member = this.#member;
    if (!member) return;
    this.#member = undefined;
    const { figures, fleet } = this.#context;
    figures.release(this.slot);
    if (member.leaving) fleet.released(member);
    if (this.#queues.length > 0) this.#queues.freed(member.service);
  }
}

function outcomeOf({ service }: Route, status: number): Outcome {
  return service.policy.breaker.failureStatuses.has(status) ? 'bad-status' : 'success';
}
