import type { Permit } from '../../src/breaker/breaker.ts';
import { worstCaseDetectionMs } from '../../src/core/check.ts';
import type { BreakerState, ProbeState } from '../../src/core/health.ts';
import type { Outcome } from '../../src/core/outcome.ts';
import type { ServicePolicy } from '../../src/core/policy.ts';
import type { Member, ServiceDetail } from '../../src/upstream/directory.ts';
import type { Ending, Request } from './client.ts';
import { CAPACITY, SERVICE, type SimGateway } from './gateway.ts';
import { type AttemptObserver, observeAttempts } from './observe.ts';
import type { Mode, Network, Process } from './process.ts';
import type { Trace } from './trace.ts';
import type { VirtualTime } from './virtual-clock.ts';

export class Violation extends Error {}

/** What is known of a member by other ways than the fleet's own account of it. */
interface Watched {
  readonly member: Member;
  probe: ProbeState;
  passedOnce: boolean;
  breaker: BreakerState;
  ejected: boolean;
  left: boolean;
  /** Why and since when it may have no attempt, and how many it had had when that was known everywhere. */
  out: { readonly why: string; readonly sinceMs: number; attempts: number | undefined } | undefined;
  /** Of an open breaker. */
  openedMs: number;
  /** How the trial under way has ended, once it has. */
  trialOutcome: Outcome | undefined;
  /** Of permits that are not settled. */
  readonly open: Set<OpenPermit>;
}

interface OpenPermit {
  readonly sinceMs: number;
  /** Given while the breaker was half-open. */
  readonly trial: boolean;
}

interface Fault {
  readonly process: Process;
  readonly mode: Mode;
  readonly fromMs: number;
  toMs: number;
}

export interface LawsOptions {
  readonly time: VirtualTime;
  readonly gateway: SimGateway;
  readonly network: Network;
  readonly policy: ServicePolicy;
  readonly trace: Trace;
}

/** Timers of the gateway beside one for each breaker and each pool's knock: wheels, hang checks, beats, the registry's. */
const TIMERS = 30;
/** Within so long every thread knows what has changed, whatever a message takes. */
const KNOWN_MS = 20;
/** Closed sooner than this, an idle connection is one that a POST may run into. */
const FRESH_MS = 1000;
/** For so long a refused connection is held against an instance, with slack. */
const REFUSED_MS = 300;

/** The prober's ticks and queues, and hang checks every 250 ms that must have come by with slack. */
const PROBER_SLACK_MS = 200;
const HANG_SLACK_MS = 900;
/** From when an attempt has waited for too long to when it is with another instance: two looks, and what they ask. */
const MOVED_MS = 400;
/** What hang detection takes for the p99 of an instance without samples. */
const UNKNOWN_P99_MS = 100;

/** What must hold, whatever happens. Compares what the gateway does with what was seen of it, never with its own word. */
export class Laws implements AttemptObserver {
  /** Requests that clients have sent, and attempts that were admitted. */
  requests = 0;
  attempts = 0;
  /** For how long the event loop was blocked. */
  stalledMs = 0;
  readonly #options: LawsOptions;
  readonly #watched = new Map<number, Watched>();
  /** The latest slot of each instance. */
  readonly #slots = new Map<string, number>();
  readonly #drained = new Set<Member>();
  readonly #executed = new Map<string, string>();
  readonly #faults: Fault[] = [];
  /** Of those in the view: since when their probes would fail, and since when hang detection should have seen them. */
  readonly #failingMs = new Map<Process, number>();
  readonly #hangingMs = new Map<Process, number>();
  #withoutHealthyMs = -Infinity;
  /** Since when somebody can answer all the time, and how many are stopped besides. */
  #answerable: { readonly sinceMs: number; readonly stopped: number } | undefined;
  #exhausted = 0;
  #exhaustedMs = -Infinity;
  readonly #startedMs: number;

  constructor(options: LawsOptions) {
    this.#options = options;
    this.#startedMs = options.time.nowMs;
    options.gateway.fleet.listen({
      added: (member) => {
        this.#added(member);
      },
      removed: (member) => {
        this.#note(member, 'is not registered any more');
        this.#of(member).left = true;
      },
      freed: (member) => {
        if (this.#of(member).open.size > 0) this.violated(`${nameOf(member)} was freed with attempts under way`);
        this.#watched.delete(member.slot);
        this.#drained.delete(member);
      },
      transition: (member, gate, from, to, cause) => {
        this.#note(member, `${gate}: ${from} > ${to} (${cause})`);
        this.#transition(member, gate, from, to);
      },
      panic: (service, on) => {
        options.trace.note(() => `panic of ${service.name} ${on ? 'on' : 'off'}`);
      },
      refused: (instance) => this.violated(`${instance.id} found no slot`),
    });
    observeAttempts(this);
  }

  violated(what: string): never {
    throw new Violation(what);
  }

  /** An operator's word, kept here as well. */
  drained(member: Member, on: boolean): void {
    if (on) this.#drained.add(member);
    else this.#drained.delete(member);
  }

  /** From now on at least one instance is well all the time, however many are stopped (and two are killed). */
  mustAnswer(stopped: number): void {
    this.#answerable = { sinceMs: this.#options.time.nowMs, stopped };
  }

  became(process: Process, mode: Mode): void {
    const { nowMs } = this.#options.time;
    const running = this.#faults.findLast((fault) => fault.process === process && fault.toMs === Infinity);
    if (running) running.toMs = nowMs;
    if (mode !== 'up') this.#faults.push({ process, mode, fromMs: nowMs, toMs: Infinity });
  }

  executed(id: string, method: string, process: Process): void {
    const before = this.#executed.get(id);
    this.#executed.set(id, process.instance.id);
    if (method === 'POST' && before !== undefined)
      this.violated(`${id}, a POST, was executed by ${before} and again by ${process.instance.id}`);
  }

  /** To be called at the end of every turn, when every view is published. */
  check(): void {
    const { gateway } = this.#options;
    const { inflight } = gateway.figures;
    let sum = 0;
    for (let slot = 0; slot < CAPACITY; slot++) {
      const count = inflight[slot]!;
      if (count === 0) continue;
      sum += count;
      const watched = this.#watched.get(slot);
      if (count < 0 || !watched) this.violated(`${count} requests are in flight to slot ${slot}`);
    }
    if (sum > gateway.requests && gateway.threads.unburied === 0)
      this.violated(`${sum} attempts are in flight, and only ${gateway.requests} requests are under way`);
    for (const watched of this.#watched.values()) this.#checkMember(watched);
    this.#checkViews();
    if (gateway.budgetExhausted > this.#exhausted) {
      this.#exhausted = gateway.budgetExhausted;
      this.#exhaustedMs = this.#options.time.nowMs;
    }
    if (gateway.timers > TIMERS + 4 * this.#watched.size) this.violated(`${gateway.timers} timers are pending`);
  }

  /** Retries are paid from the budget, unless an ejection moved them. `since`: of an earlier moment. */
  checkBudget(since = { requests: 0, attempts: 0, moved: 0, atMs: this.#startedMs }): void {
    const { policy, gateway, time } = this.#options;
    const { budget, budgetMinPerSecond } = policy.retry;
    const requests = this.requests - since.requests;
    const saved =
      Math.max(1, budgetMinPerSecond * 10) * (1 + gateway.deaths) + (since.requests === 0 ? 0 : budget * 1000);
    const most =
      requests * (1 + budget) +
      saved +
      ((time.nowMs - since.atMs) / 1000) * budgetMinPerSecond +
      (gateway.moved - since.moved);
    const made = this.attempts - since.attempts;
    if (made > most)
      this.violated(`${made} attempts for ${requests} requests, where at most ${most.toFixed(1)} may be made`);
  }

  get spent(): { requests: number; attempts: number; moved: number; atMs: number } {
    const { gateway, time } = this.#options;
    return { requests: this.requests, attempts: this.attempts, moved: gateway.moved, atMs: time.nowMs };
  }

  /** `alive`: so is the thread that had the connection. */
  ended(request: Request, ending: Ending, alive: boolean): void {
    const { trace } = this.#options;
    const { id, method } = request;
    trace.note(() => `${method} ${id} ${wordsOf(ending)}`);
    if (!alive && (ending.kind === 'cut' || ending.kind === 'dropped')) return;
    this.#checkAnswer(request, ending);
    switch (ending.kind) {
      case 'left':
        return;
      case 'answered':
        if (ending.status === 503 && !this.#faultSince(request.startedMs, 'failing'))
          this.violated(`${id} got a 503 that no instance sent`);
        return;
      case 'dropped':
        if (!request.stalled) this.violated(`${id} got no answer`);
        if (this.#faultsSince(request.startedMs).size === 0) this.violated(`${id} was dropped for no reason`);
        return;
      case 'cut':
        if (this.#faultsSince(request.startedMs).size === 0) this.violated(`the answer to ${id} was cut for no reason`);
        return;
      case 'refused':
        if (!this.#excused(request, ending.why))
          this.violated(`${method} ${id} got ${ending.status} (${ending.why}) without need`);
    }
  }

  /** Wherever a request is sent that may be repeated, it gets to somebody who answers, and soon. */
  #checkAnswer({ id, method, startedMs, stalled }: Request, ending: Ending): void {
    const { time, policy, gateway } = this.#options;
    if (!this.#answerable || startedMs < this.#answerable.sinceMs || method !== 'GET' || stalled) return;
    if (this.#exhaustedMs >= startedMs) return;
    if (ending.kind === 'refused')
      this.violated(`${id} got ${ending.status} (${ending.why}), and somebody could answer`);
    const { minWaitMs, p99Factor } = policy.hang;
    const p99Ms = Math.max(UNKNOWN_P99_MS, ...gateway.figures.latencyP99Ms);
    const onOneMs = Math.max(minWaitMs, p99Factor * p99Ms) + MOVED_MS;
    const most = (this.#answerable.stopped + 1) * onOneMs;
    const tookMs = time.nowMs - startedMs;
    if (tookMs > most)
      this.violated(`${id} ${wordsOf(ending)} after ${tookMs.toFixed(0)} ms, where ${most.toFixed(0)} are too many`);
  }

  #excused({ method, startedMs }: Request, why: string): boolean {
    // Whoever refused a connection just now is not asked again for a moment, though it may be back.
    const faulty = this.#faultsSince(startedMs - REFUSED_MS);
    // Threads hear a little later who can be sent to.
    if (this.#withoutHealthyMs + KNOWN_MS + this.stalledMs >= startedMs || this.#exhaustedMs >= startedMs) return true;
    const { maxInflightPerInstance, adaptiveLimit, retry } = this.#options.policy;
    if ((maxInflightPerInstance > 0 || adaptiveLimit) && why.startsWith('connection_limit_reached')) return true;
    if (why.startsWith('http_protocol_error')) return this.#faultSince(startedMs, 'babbling');
    if (method === 'GET') return faulty.size > retry.attempts;
    if (faulty.size > 0) return true;
    const impatient = [...this.#options.network.processes].some(({ habits }) => habits.idleCloseMs < FRESH_MS + 100);
    return impatient && why.startsWith('connection_terminated');
  }

  #faultsSince(sinceMs: number): Set<Process> {
    return new Set(this.#faults.filter(({ toMs }) => toMs >= sinceMs).map(({ process }) => process));
  }

  #faultSince(sinceMs: number, mode: Mode): boolean {
    return this.#faults.some((fault) => fault.mode === mode && fault.toMs >= sinceMs);
  }

  #added(member: Member): void {
    this.#note(member, `is registered, slot ${member.slot}`);
    const watched: Watched = {
      member,
      probe: 'unknown',
      passedOnce: false,
      breaker: 'closed',
      ejected: false,
      left: false,
      out: undefined,
      openedMs: -Infinity,
      trialOutcome: undefined,
      open: new Set(),
    };
    if (this.#watched.has(member.slot)) this.violated(`slot ${member.slot} was given out twice`);
    this.#watched.set(member.slot, watched);
    this.#slots.set(member.instance.id, member.slot);
  }

  taken(): void {
    this.attempts++;
  }

  admitted(slot: number, permit: Permit): Permit {
    const watched = this.#watched.get(slot);
    if (!watched) this.violated(`an attempt was admitted to slot ${slot}, which is nobody's`);
    const open = { sinceMs: this.#options.time.nowMs, trial: watched.breaker === 'half-open' };
    watched.open.add(open);
    if (open.trial) this.#checkTrials(watched);
    return {
      trial: permit.trial,
      settle: (outcome) => {
        if (open.trial && watched.open.has(open)) watched.trialOutcome = outcome;
        watched.open.delete(open);
        permit.settle(outcome);
      },
    };
  }

  /** What it had under way is nobody's any more; whose it was cannot be told. */
  threadDied(): void {
    for (const { open } of this.#watched.values()) open.clear();
  }

  #checkTrials(watched: Watched): void {
    const { member, open } = watched;
    const { connectMs, responseHeadMs, bodyIdleMs } = this.#options.policy.timeouts;
    const sinceMs = this.#options.time.nowMs - (connectMs + responseHeadMs + bodyIdleMs);
    const trials = [...open].filter((each) => each.trial && each.sinceMs > sinceMs);
    this.#note(member, 'has its trial');
    watched.trialOutcome = undefined;
    if (trials.length > 1) this.violated(`${nameOf(member)} has ${trials.length} trials at a time`);
  }

  #transition(member: Member, gate: string, from: string, to: string): void {
    const watched = this.#of(member);
    if (gate === 'breaker') {
      this.#checkBreaker(watched, from as BreakerState, to as BreakerState);
      watched.breaker = to as BreakerState;
      // What was admitted before belongs to the time before.
      if (to !== 'half-open') for (const each of watched.open) Object.assign(each, { trial: false });
    } else if (gate === 'probe') {
      watched.probe = to as ProbeState;
      watched.passedOnce ||= to === 'passing' || to === 'degraded';
    } else if (gate === 'ejection') {
      watched.ejected = to === 'ejected';
    }
    if ((gate === 'breaker' && from === 'closed' && to === 'open') || (gate === 'ejection' && to === 'ejected'))
      this.#checkCap(watched, gate);
  }

  #checkBreaker(watched: Watched, from: BreakerState, to: BreakerState): void {
    const { time, policy } = this.#options;
    const { member, left, openedMs, trialOutcome } = watched;
    if (to === 'open') watched.openedMs = time.nowMs;
    if (left || !policy.breaker.enabled) return;
    const { openMs, maxOpenMs } = policy.breaker;
    if (from === 'open' && time.nowMs - openedMs > Math.max(openMs, maxOpenMs) + 1 + this.stalledMs)
      this.violated(`the breaker of ${nameOf(member)} was open for ${time.nowMs - openedMs} ms`);
    if (from === 'half-open' && to === 'closed' && trialOutcome !== 'success')
      this.violated(`the breaker of ${nameOf(member)} closed by a trial that ended with ${trialOutcome ?? 'nothing'}`);
  }

  /** Of those who work as far as probes can tell only a share may be out; where none of them is in, a share of all. */
  #checkCap(watched: Watched, gate: 'breaker' | 'ejection'): void {
    if (gate === 'breaker' ? watched.ejected : watched.breaker !== 'closed') return;
    const { maxEjectedShare } = this.#options.policy.availability;
    const present = [...this.#watched.values()].filter(({ left }) => !left);
    const workers = present.filter((each) => this.#works(each));
    const isOut = ({ breaker, ejected }: Watched): boolean => breaker !== 'closed' || ejected;
    if (!this.#works(watched) && workers.some((each) => !isOut(each))) return;
    const whole = this.#works(watched) ? workers : present;
    const out = whole.filter(isOut).length;
    const most = present.filter(isOut).length === 1 ? 1 : Math.floor(maxEjectedShare * whole.length);
    if (out > most)
      this.violated(`${nameOf(watched.member)} is the ${out}th of ${whole.length} to be out, where ${most} may be`);
  }

  /** As far as its probes can tell, and nobody wants it out. */
  #works({ member, probe }: Watched): boolean {
    const probed = probe === 'passing' || probe === 'degraded';
    return !this.#drained.has(member) && (probed || this.#options.policy.availability.mode === 'trust-registry');
  }

  /** Why nobody may send anything to it; undefined where somebody may. */
  #out(watched: Watched, service: ServiceDetail): string | undefined {
    if (watched.left) return 'is not registered';
    if (this.#drained.has(watched.member)) return 'is drained';
    if (watched.ejected) return 'is ejected';
    if (watched.breaker === 'open') return 'has an open breaker';
    if (this.#options.policy.availability.mode === 'trust-registry') return undefined;
    if (!watched.passedOnce) return 'has never passed a probe';
    const passes = watched.probe === 'passing' || watched.probe === 'degraded';
    if (!passes && !service.view.panic) return 'fails its probes';
    return undefined;
  }

  #checkMember(watched: Watched): void {
    const { gateway } = this.#options;
    const { member, open } = watched;
    const { attempts, inflight } = gateway.figures;
    const made = attempts[member.slot]!;
    if (open.size > inflight[member.slot]!)
      this.violated(`${open.size} attempts on ${nameOf(member)} wait, and ${inflight[member.slot]} are in flight`);
    const why = this.#out(watched, gateway.fleet.service(SERVICE)!);
    const { nowMs } = this.#options.time;
    if (why !== watched.out?.why)
      watched.out = why === undefined ? undefined : { why, sinceMs: nowMs, attempts: undefined };
    const { out } = watched;
    if (!out) return;
    // Threads share breakers; of the rest they are told.
    const knownMs = watched.breaker === 'open' ? 0 : KNOWN_MS + this.stalledMs;
    if (out.attempts === undefined && nowMs - out.sinceMs >= knownMs) out.attempts = made;
    if (out.attempts !== undefined && made > out.attempts)
      this.violated(`${nameOf(member)} ${out.why} for ${nowMs - out.sinceMs} ms, and got an attempt`);
  }

  #checkViews(): void {
    const { gateway, network, time } = this.#options;
    const service = gateway.fleet.service(SERVICE)!;
    let healthy = false;
    for (const slot of service.view.slots) {
      const watched = this.#watched.get(slot);
      if (!watched) this.violated(`the view has slot ${slot}, which is nobody's`);
      const why = this.#out(watched, service);
      if (why !== undefined) this.violated(`${nameOf(watched.member)} ${why}, and is in the view`);
      const { host, port } = watched.member.instance;
      const process = network.at(host, port);
      healthy ||= process.mode === 'up';
      if (process.mode === 'up') continue;
      this.#checkDetection(watched, process, service);
      this.#checkHang(watched, process, service);
    }
    this.#forgetWell(service);
    if (!healthy) this.#withoutHealthyMs = time.nowMs;
  }

  #forgetWell({ view }: ServiceDetail): void {
    for (const since of [this.#failingMs, this.#hangingMs]) {
      for (const process of since.keys()) {
        const slot = this.#slots.get(process.instance.id);
        if (process.mode === 'up' || slot === undefined || !view.slots.includes(slot)) since.delete(process);
      }
    }
  }

  /** Probes find out within the documented time. */
  #checkDetection({ member, probe }: Watched, process: Process, { policy, view }: ServiceDetail): void {
    const [check] = policy.checks;
    const fails = check !== undefined && process.probe(check.type)?.answer.result !== 'pass';
    const heeded = policy.availability.mode !== 'trust-registry' && !view.panic && this.stalledMs === 0;
    if (!fails || !heeded || probe === 'unknown') {
      this.#failingMs.delete(process);
      return;
    }
    const { nowMs } = this.#options.time;
    const forMs = nowMs - (this.#failingMs.get(process) ?? nowMs);
    if (forMs === 0) this.#failingMs.set(process, nowMs);
    // Traffic may have put the next probe of a mere connection off by an interval.
    const putOffMs = check.type === 'tcp' ? check.intervalMs : 0;
    if (forMs > worstCaseDetectionMs(check) + putOffMs + PROBER_SLACK_MS)
      this.violated(`${nameOf(member)} is ${process.mode} for ${forMs} ms, and still in the view`);
  }

  /** Hang detection finds who has not answered for longer than its policy says, while others do. */
  #checkHang({ member, open }: Watched, process: Process, service: ServiceDetail): void {
    const { time, gateway } = this.#options;
    const { hang } = service.policy;
    const { lastSuccessMs, latencyP99Ms } = gateway.figures;
    const hungMs = this.#faults.findLast((fault) => fault.process === process)?.fromMs ?? 0;
    const beganMs = Math.min(...[...open].map(({ sinceMs }) => sinceMs).filter((sinceMs) => sinceMs > hungMs));
    const dueMs = beganMs + Math.max(hang.minWaitMs, hang.p99Factor * (latencyP99Ms[member.slot] || UNKNOWN_P99_MS));
    const peers = [...service.view.slots].some((slot) => slot !== member.slot && lastSuccessMs[slot]! > beganMs);
    const seen = hang.enabled && process.mode === 'hung' && this.stalledMs === 0 && peers && service.mayEject(member);
    if (!seen || time.nowMs < dueMs) {
      this.#hangingMs.delete(process);
      return;
    }
    const sinceMs = this.#hangingMs.get(process) ?? time.nowMs;
    this.#hangingMs.set(process, sinceMs);
    if (time.nowMs - sinceMs > HANG_SLACK_MS)
      this.violated(`${nameOf(member)} hangs, an attempt waits since ${beganMs.toFixed(0)} ms, and it is in the view`);
  }

  #of(member: Member): Watched {
    const watched = this.#watched.get(member.slot);
    if (watched?.member !== member) this.violated(`${nameOf(member)} is talked about, and its slot is not its own`);
    return watched;
  }

  #note(member: Member, text: string): void {
    this.#options.trace.note(() => `${nameOf(member)} ${text}`);
  }
}

function nameOf(member: Member): string {
  return member.instance.id;
}

function wordsOf(ending: Ending): string {
  switch (ending.kind) {
    case 'answered':
      return `answered ${ending.status}`;
    case 'refused':
      return `refused ${ending.status} (${ending.why})`;
    case 'cut':
      return 'cut';
    case 'dropped':
      return 'dropped';
    case 'left':
      return 'left';
  }
}
