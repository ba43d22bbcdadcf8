// Registers instances with an embedded registry and then changes them at a steady rate, until TERM; takes all of them
// away at its end. Prints {"steady":N} when the first ones are there, and {"calls":N,"failed":N,"late":N} at the end.
// Run by npm run bench.
import { ChurnPlan, encodeCall, type ChurnPlanOptions, type RegistryCall } from './churn-plan.ts';
import { RawConnection } from './raw-connection.ts';
import { optionsFromArgv } from './request.ts';

export interface RegistryChurnOptions extends ChurnPlanOptions {
  /** Of the registry, on loopback. */
  readonly port: number;
  readonly callsPerS: number;
  /** Kept open; the most calls under way at once. */
  readonly connections: number;
  /** What is registered then stays. */
  readonly leave?: true;
}

/** Short enough that calls come one by one, long enough to leave the core to those who share it. */
const TICK_MS = 2;
/** Calls that wait for a connection: beyond it the registry does not keep up, and what is due is given up. */
const MOST_WAITING = 2000;

/** Sends calls over kept-alive connections, each as soon as one is free. */
class Caller {
  failed = 0;
  answered = 0;
  readonly #free: RawConnection[] = [];
  readonly #underWay = new Map<RawConnection, RegistryCall>();
  readonly #waiting: RegistryCall[] = [];
  /** The next of `#waiting`: taking the first of 100,000 away would move all others. */
  #next = 0;
  #idle = Promise.withResolvers<undefined>();

  constructor(port: number, connections: number) {
    for (let slot = 0; slot < connections; slot += 1) {
      new RawConnection(slot, port, {
        onOpen: (connection) => this.#release(connection),
        onReply: (connection, status) => this.#answered(connection, status),
        onLost: (_, cause) => {
          throw cause ?? new Error('the registry closed a connection');
        },
      });
    }
  }

  get waiting(): number {
    return this.#waiting.length - this.#next;
  }

  send(call: RegistryCall): void {
    const connection = this.#free.shift();
    if (connection) this.#write(connection, call);
    else this.#waiting.push(call);
  }

  /** Resolves when every one of them, and all before, has been answered. */
  async sendAll(calls: readonly RegistryCall[]): Promise<void> {
    for (const call of calls) this.send(call);
    if (this.#underWay.size === 0 && this.waiting === 0) return;
    this.#idle = Promise.withResolvers();
    await this.#idle.promise;
  }

  #write(connection: RawConnection, call: RegistryCall): void {
    this.#underWay.set(connection, call);
    connection.send(encodeCall(call));
  }

  #answered(connection: RawConnection, status: number): void {
    this.answered += 1;
    if (this.#underWay.get(connection)?.expected !== status) this.failed += 1;
    this.#underWay.delete(connection);
    this.#release(connection);
  }

  #release(connection: RawConnection): void {
    const next = this.#waiting[this.#next];
    if (next) {
      this.#next += 1;
      this.#write(connection, next);
    } else {
      this.#waiting.length = 0;
      this.#next = 0;
      this.#free.push(connection);
      if (this.#underWay.size === 0) this.#idle.resolve(undefined);
    }
  }
}

const options = optionsFromArgv() as RegistryChurnOptions;
const plan = new ChurnPlan(options);
const caller = new Caller(options.port, options.connections);
const ended = new Promise<void>((resolve) => process.once('SIGTERM', () => resolve()));

await caller.sendAll(plan.first());
process.stdout.write(`${JSON.stringify({ steady: options.instances })}\n`);

let steps = 0;
let late = 0;
const before = caller.answered;
const startMs = performance.now();
const perMs = options.kind === 'none' ? 0 : options.callsPerS / 1000;
const ticker = setInterval(() => {
  const due = Math.floor((performance.now() - startMs) * perMs) - late;
  for (; steps < due; steps += 1) {
    if (caller.waiting >= MOST_WAITING) {
      late += due - steps;
      break;
    }
    caller.send(plan.step(steps));
  }
}, TICK_MS);
await ended;
clearInterval(ticker);
await caller.sendAll([]);
const calls = caller.answered - before;
if (options.leave !== true) await caller.sendAll(plan.last(steps));
process.stdout.write(`${JSON.stringify({ calls, failed: caller.failed, late })}\n`, () => process.exit());
