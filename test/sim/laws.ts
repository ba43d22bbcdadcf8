import type { Permit } from '../../src/breaker/breaker.ts';
import type { BreakerState, ProbeState } from '../../src/core/health.ts';
import type { ServicePolicy } from '../../src/core/policy.ts';
import type { Member, ServiceDetail } from '../../src/upstream/directory.ts';
import type { Ending, Request } from './client.ts';
import { CAPACITY, SERVICE, type SimGateway } from './gateway.ts';
import type { Mode, Network, Process } from './process.ts';
import type { Trace } from './trace.ts';
import type { OwnedClock, VirtualTime } from './virtual-clock.ts';

export class Violation extends Error {}

/** What is known of a member by other ways than the fleet's own account of it. */
interface Watched {
  readonly member: Member;
  probe: ProbeState;
  passedOnce: boolean;
  breaker: BreakerState;
  ejected: boolean;
  left: boolean;
  /** Attempts on it when it was found to be out; undefined while it may have some. */
  attemptsWhenOut: number | undefined;
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
  readonly gatewayClock: OwnedClock;
  readonly gateway: SimGateway;
  readonly network: Network;
  readonly policy: ServicePolicy;
  readonly trace: Trace;
}

/** Timers of the gateway beside one for each breaker: wheels, hang checks, the registry's. */
const TIMERS = 20;
/** Closed sooner than this, an idle connection is one that a POST may run into. */
const FRESH_MS = 1000;

/** What must hold, whatever happens. Compares what the gateway does with what was seen of it, never with its own word. */
export class Laws {
  /** Requests that clients have sent, and attempts that were admitted. */
  requests = 0;
  attempts = 0;
  readonly #options: LawsOptions;
  readonly #watched = new Map<number, Watched>();
  readonly #drained = new Set<Member>();
  readonly #executed = new Map<string, string>();
  readonly #faults: Fault[] = [];
  #withoutHealthyMs = -Infinity;
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
  }

  violated(what: string): never {
    throw new Violation(what);
  }

  /** An operator's word, kept here as well. */
  drained(member: Member, on: boolean): void {
    if (on) this.#drained.add(member);
    else this.#drained.delete(member);
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
    const { gateway, gatewayClock } = this.#options;
    const { inflight } = gateway.figures;
    let sum = 0;
    for (let slot = 0; slot < CAPACITY; slot++) {
      const count = inflight[slot]!;
      if (count === 0) continue;
      sum += count;
      const watched = this.#watched.get(slot);
      if (count < 0 || !watched) this.violated(`${count} requests are in flight to slot ${slot}`);
    }
    if (sum > gateway.requests)
      this.violated(`${sum} attempts are in flight, and only ${gateway.requests} requests are under way`);
    for (const watched of this.#watched.values()) this.#checkMember(watched);
    this.#checkViews();
    if (gateway.budgetExhausted > this.#exhausted) {
      this.#exhausted = gateway.budgetExhausted;
      this.#exhaustedMs = this.#options.time.nowMs;
    }
    if (gatewayClock.pending > TIMERS + this.#watched.size) this.violated(`${gatewayClock.pending} timers are pending`);
  }

  /** Retries are paid from the budget, unless an ejection moved them. `since`: of an earlier moment. */
  checkBudget(since = { requests: 0, attempts: 0, moved: 0, atMs: this.#startedMs }): void {
    const { policy, gateway, time } = this.#options;
    const { budget, budgetMinPerSecond } = policy.retry;
    const requests = this.requests - since.requests;
    const saved = Math.max(1, budgetMinPerSecond * 10) + (since.requests === 0 ? 0 : budget * 1000);
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

  ended(request: Request, ending: Ending): void {
    const { trace } = this.#options;
    const { id, method } = request;
    trace.note(() => `${method} ${id} ${wordsOf(ending)}`);
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

  #excused({ method, startedMs }: Request, why: string): boolean {
    const faulty = this.#faultsSince(startedMs);
    if (this.#withoutHealthyMs >= startedMs || this.#exhaustedMs >= startedMs) return true;
    if (this.#options.policy.maxInflightPerInstance > 0 && why.includes('maxInflightPerInstance')) return true;
    if (why.startsWith('http_protocol_error')) return this.#faultSince(startedMs, 'babbling');
    if (method === 'GET') return faulty.size > this.#options.policy.retry.attempts;
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
      attemptsWhenOut: undefined,
      open: new Set(),
    };
    if (this.#watched.has(member.slot)) this.violated(`slot ${member.slot} was given out twice`);
    this.#watched.set(member.slot, watched);
    const admit = member.admit.bind(member);
    Object.assign(member, { admit: () => this.#admitted(watched, admit()) });
  }

  #admitted(watched: Watched, permit: Permit | undefined): Permit | undefined {
    if (!permit) return undefined;
    const { nowMs } = this.#options.time;
    this.attempts++;
    const open = { sinceMs: nowMs, trial: watched.breaker === 'half-open' };
    watched.open.add(open);
    if (open.trial) this.#checkTrials(watched);
    return {
      trial: permit.trial,
      settle: (outcome) => {
        watched.open.delete(open);
        permit.settle(outcome);
      },
    };
  }

  #checkTrials({ member, open }: Watched): void {
    const { connectMs, responseHeadMs, bodyIdleMs } = this.#options.policy.timeouts;
    const sinceMs = this.#options.time.nowMs - (connectMs + responseHeadMs + bodyIdleMs);
    const trials = [...open].filter((each) => each.trial && each.sinceMs > sinceMs);
    this.#note(member, 'has its trial');
    if (trials.length > 1) this.violated(`${nameOf(member)} has ${trials.length} trials at a time`);
  }

  #transition(member: Member, gate: string, from: string, to: string): void {
    const watched = this.#of(member);
    if (gate === 'breaker') {
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
      this.#checkCap(member);
  }

  #checkCap(member: Member): void {
    const { maxEjectedShare } = this.#options.policy.availability;
    const present = [...this.#watched.values()].filter(({ left }) => !left);
    const out = present.filter(({ breaker, ejected }) => breaker !== 'closed' || ejected).length;
    const most = Math.max(1, Math.floor(maxEjectedShare * present.length));
    if (out > most)
      this.violated(`${nameOf(member)} is the ${out}th of ${present.length} to be out, where ${most} may be`);
  }

  /** Why nobody may send anything to it; undefined where somebody may. */
  #out(watched: Watched, service: ServiceDetail): string | undefined {
    if (watched.left) return 'is not registered';
    if (this.#drained.has(watched.member)) return 'is drained';
    if (watched.ejected) return 'is ejected';
    if (watched.breaker === 'open') return 'has an open breaker';
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
    if (why === undefined) {
      watched.attemptsWhenOut = undefined;
      return;
    }
    watched.attemptsWhenOut ??= made;
    if (made > watched.attemptsWhenOut) this.violated(`${nameOf(member)} ${why}, and got an attempt`);
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
      healthy ||= network.at(host, port).mode === 'up';
    }
    if (!healthy) this.#withoutHealthyMs = time.nowMs;
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
