import { instance } from '../../src/core/instance.ts';
import type { ServicePolicy } from '../../src/core/policy.ts';
import { type Random, seededRandom } from '../../src/core/random.ts';
import { MemoryRegistry } from '../contract/memory-backend.ts';
import { Client, type Request } from './client.ts';
import { SERVICE, SimGateway } from './gateway.ts';
import { Laws, Violation } from './laws.ts';
import { type Plan, recoveryMs } from './plan.ts';
import { type Mode, Network, Process } from './process.ts';
import { Trace } from './trace.ts';
import { VirtualTime } from './virtual-clock.ts';

/** Until a thread knows what there is, at its beginning. */
const READY_MS = 100;
const MAX_CLIENTS = 40;
/** An upstream connection is kept idle for 4 s, and where the instance closes it before, so is one that was made to knock. */
const QUIET_MS = 9000;

export interface RunFigures {
  readonly requests: number;
  readonly attempts: number;
  readonly answered: number;
  readonly refused: number;
  readonly recoveredAfterMs: number;
}

/** One run: a world of processes, a registry, clients and operators around a gateway; everything follows from the seed. */
export class Simulation {
  readonly plan: Plan;
  readonly time = new VirtualTime();
  readonly world = this.time.clock();
  readonly gatewayClock = this.time.clock();
  readonly random: Random;
  readonly trace = new Trace(this.time);
  readonly network = new Network();
  readonly registry = new MemoryRegistry();
  readonly gateway: SimGateway;
  readonly laws: Laws;
  /** Those that are meant to be registered. */
  readonly running = new Map<string, Process>();
  /** The registry was lost, or told what is not so. */
  registryTroubled = false;
  readonly #clients: Client[] = [];
  readonly #tasks: Promise<void>[] = [];
  readonly #endings = { answered: 0, refused: 0, cut: 0, dropped: 0, left: 0 };
  #requests = 0;
  #instances = 0;
  #trafficOn = false;

  constructor(plan: Plan) {
    this.plan = plan;
    this.random = seededRandom(plan.seed);
    this.gateway = new SimGateway({
      time: this.time,
      clock: this.gatewayClock,
      random: seededRandom(plan.seed ^ 0x5eed),
      policy: plan.policy,
      network: this.network,
      registry: this.registry,
      dataPlanes: plan.dataPlanes,
      messageMs: plan.messageMs,
    });
    this.laws = new Laws({
      time: this.time,
      gateway: this.gateway,
      network: this.network,
      policy: plan.policy,
      trace: this.trace,
    });
  }

  get policy(): ServicePolicy {
    return this.plan.policy;
  }

  /** Throws a Violation that tells how to see it again. */
  async run(): Promise<RunFigures> {
    try {
      return await this.#run();
    } catch (error) {
      const what = error instanceof Violation ? error.message : String((error as Error).stack ?? error);
      const { seed, kind } = this.plan;
      throw new Violation(
        `seed ${seed} (${kind}) at ${this.time.nowMs.toFixed(1)} ms: ${what}\n` +
          `again: SIM_SEED=${seed} npx vitest run test/sim\n${this.trace.text}`,
        { cause: error },
      );
    }
  }

  async #run(): Promise<RunFigures> {
    for (let count = this.plan.instances; count > 0; count--) this.register(this.newProcess());
    this.gateway.start();
    await this.until(() => this.#allServe(), 4000, 'every instance is in rotation after the start');
    await this.pass(READY_MS);
    const { timers } = this.gateway;
    this.#trafficOn = true;
    this.#arrive();
    await this.plan.play(this);
    let over = false;
    void Promise.all(this.#tasks).then(() => (over = true));
    await this.until(() => over, 20_000, 'the scene ends');
    this.#mend();
    const mendedMs = this.time.nowMs;
    await this.until(
      () => this.#allServe(),
      recoveryMs(this.policy, this.registryTroubled),
      'every healthy instance is back in rotation',
    );
    const recoveredAfterMs = this.time.nowMs - mendedMs;
    this.#trafficOn = false;
    await this.#end(timers);
    return { ...this.#endings, requests: this.laws.requests, attempts: this.laws.attempts, recoveredAfterMs };
  }

  /** Lets time pass. */
  async pass(forMs: number): Promise<void> {
    const untilMs = this.time.nowMs + forMs;
    // What was done just now comes about before time goes on.
    await this.#turn();
    while (this.time.step(untilMs)) await this.#turn();
  }

  async until(condition: () => boolean, withinMs: number, what: string): Promise<void> {
    const untilMs = this.time.nowMs + withinMs;
    await this.#turn();
    while (!condition()) {
      if (!this.time.step(untilMs)) this.laws.violated(`${what}: not within ${withinMs} ms`);
      await this.#turn();
    }
  }

  /** For tasks in the background of a scene: time passes by the hand of others. */
  wait(forMs: number): Promise<void> {
    return new Promise((resolve) => {
      this.world.after(forMs, resolve);
    });
  }

  /** A task that the run waits for before everything is mended. */
  background(task: Promise<void>): void {
    this.#tasks.push(task);
  }

  /** The gateway's event loop is blocked. */
  stall(forMs: number): void {
    this.trace.note(() => `the event loop is blocked for ${forMs.toFixed(0)} ms`);
    this.laws.stalledMs = Math.max(this.laws.stalledMs, forMs);
    this.time.stall(forMs);
  }

  /** As an ejection does: what waits on it goes elsewhere. */
  moveOff(process: Process): void {
    const member = this.gateway.fleet.find(SERVICE, process.instance.id);
    if (member)
      for (const { thread } of this.gateway.threads.alive.values())
        thread.receive({ type: 'moveOff', slot: member.slot });
  }

  /** A defect ends a data-plane thread. */
  killThread(): void {
    const threads = [...this.gateway.threads.alive.values()];
    if (threads.length === 0) return;
    const thread = this.oneOf(threads);
    this.trace.note(() => `thread ${thread.number} dies`);
    thread.die();
    this.laws.threadDied();
  }

  /** A number from `low` to below `high`. */
  between(low: number, high: number): number {
    return low + (high - low) * this.random();
  }

  /** Obligation: there are some. */
  oneOf<T>(items: readonly T[]): T {
    return items[Math.floor(this.random() * items.length)]!;
  }

  newProcess(): Process {
    const number = ++this.#instances;
    const who = instance({
      service: SERVICE,
      id: `i${number}`,
      host: `10.0.0.${number}`,
      port: 80,
      weight: this.plan.weighted ? this.oneOf([1, 1, 2, 5]) : 1,
    });
    const habits = {
      latencyMs: this.oneOf([0.25, 1, 4]),
      serviceMs: this.between(2, 30),
      idleCloseMs: this.oneOf([300, 1500, 5000, 60_000]),
    };
    const process = new Process(who, habits, this.world, this.random, {
      executed: (id, method, by) => {
        this.laws.executed(id, method, by);
      },
      noted: this.trace.note,
    });
    this.network.start(process);
    return process;
  }

  become(process: Process, mode: Mode): void {
    this.laws.became(process, mode);
    process.become(mode);
  }

  register(process: Process): void {
    this.running.set(process.instance.id, process);
    this.trace.note(() => `${process.instance.id} registers`);
    this.registry.register(process.instance);
  }

  deregister(process: Process): void {
    this.running.delete(process.instance.id);
    this.trace.note(() => `${process.instance.id} deregisters`);
    this.registry.deregister(SERVICE, process.instance.id);
  }

  drain(process: Process, on: boolean): void {
    const { id } = process.instance;
    const member = this.gateway.fleet.find(SERVICE, id);
    if (!member) return;
    this.trace.note(() => `an operator ${on ? 'drains' : 'undrains'} ${id}`);
    this.laws.drained(member, on);
    if (on) this.gateway.fleet.drain(SERVICE, id);
    else this.gateway.fleet.undrain(SERVICE, id);
  }

  /** Requests in flight to an instance, as an operator sees them. */
  inflight(process: Process): number {
    const member = this.gateway.fleet.find(SERVICE, process.instance.id);
    return member ? this.gateway.figures.inflight[member.slot]! : 0;
  }

  /** Registered processes that work and get traffic. */
  serving(): Process[] {
    const slots = this.gateway.fleet.service(SERVICE)!.view.slots;
    return [...this.running.values()].filter((process) => {
      const member = this.gateway.fleet.find(SERVICE, process.instance.id);
      return process.mode === 'up' && member !== undefined && slots.includes(member.slot);
    });
  }

  async #turn(): Promise<void> {
    await new Promise<void>((resolve) => {
      setImmediate(resolve);
    });
    this.laws.check();
  }

  #allServe(): boolean {
    const { members, view } = this.gateway.fleet.service(SERVICE)!;
    return (
      view.slots.length === this.running.size &&
      members.size === this.running.size &&
      [...this.running.keys()].every((id) => members.has(id))
    );
  }

  #mend(): void {
    this.trace.note(() => 'everything is mended');
    for (const process of this.network.processes) {
      if (this.running.has(process.instance.id)) this.become(process, 'up');
      this.drain(process, false);
    }
    this.registry.restore();
    for (const process of this.running.values()) {
      if (!this.registry.services.get(SERVICE)?.has(process.instance.id)) this.register(process);
    }
  }

  #arrive(): void {
    if (!this.#trafficOn) return;
    this.#request();
    const gapMs = (-Math.log(1 - this.random()) * 1000) / this.plan.requestsPerSecond;
    this.world.after(Math.ceil(gapMs), () => {
      this.#arrive();
    });
  }

  #request(): void {
    const client = this.#client();
    if (!client) return;
    const { random } = this;
    const method = random() < this.plan.posts ? 'POST' : 'GET';
    const id = `r${++this.#requests}`;
    const stalled = random() < this.plan.stalls;
    const request: Request = { id, method, startedMs: this.time.nowMs, stalled, ending: undefined };
    this.laws.requests++;
    this.trace.note(() => `${method} ${id} is sent${stalled ? ', and takes nothing for a while' : ''}`);
    client.send(request, random() < 0.2 ? this.between(1, 300) : 0);
    if (random() < this.plan.aborts) {
      this.world.after(this.between(0, 1500), () => {
        if (client.current === request) client.leave();
      });
    }
    if (stalled) client.stall(this.between(10, 400));
  }

  #client(): Client | undefined {
    for (let at = this.#clients.length - 1; at >= 0; at--) if (this.#clients[at]!.closed) this.#clients.splice(at, 1);
    const idle = this.#clients.filter((client) => client.idle);
    if (idle.length > 0 && this.random() < 0.8) return this.oneOf(idle);
    if (this.#clients.length >= MAX_CLIENTS) return undefined;
    const { alive } = this.gateway.threads;
    const threads = [...alive.values()].filter(({ bornMs }) => this.time.nowMs - bornMs >= READY_MS);
    if (threads.length === 0) return undefined;
    const to = this.oneOf(threads);
    const client = new Client(to, this.world, this.oneOf([0.25, 1, 10]), (request, ending) => {
      this.#endings[ending.kind]++;
      this.laws.ended(request, ending, alive.get(to.number) === to);
    });
    this.#clients.push(client);
    return client;
  }

  async #end(timers: number): Promise<void> {
    const { laws, gateway, policy } = this;
    const { connectMs, responseHeadMs, bodyIdleMs } = policy.timeouts;
    const longestMs =
      (policy.retry.attempts + 1) * (connectMs + responseHeadMs + policy.queue.timeoutMs) + bodyIdleMs + 1000;
    await this.until(
      () => this.#clients.every((client) => client.closed || client.idle),
      longestMs,
      'all are answered',
    );
    laws.checkBudget();
    for (const client of this.#clients) client.leave();
    await this.pass(100);
    const held = { requests: gateway.requests, inflight: gateway.inflight };
    if (held.requests !== 0 || held.inflight !== 0) laws.violated(`left over: ${JSON.stringify(held)}`);
    // Every timer for a request or a connection is gone; one for a list of the registry that is under way will be.
    const quiet = `no connection is kept, and no more timers than the ${timers} before the first request are pending`;
    await this.until(() => gateway.idleUpstream === 0 && gateway.timers <= timers, QUIET_MS, quiet);
    const closing = gateway.close();
    let closed = false;
    void closing.then(() => (closed = true));
    await this.until(() => closed, 10_000, 'the gateway closes');
    await this.pass(100);
    if (gateway.timers > 0) laws.violated(`${gateway.timers} timers are left after the end`);
  }
}
