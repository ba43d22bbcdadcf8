// Sends at times fixed beforehand, whatever the replies do, and times each reply from the moment its request was DUE.
// A closed loop (wrk) waits for a slow reply and so leaves out the requests that would have met the same delay.
// Run by npm run bench; by hand: node bench/load/open-loop.ts '{"request":{…},"ratePerS":5000,…}'
import { Worker } from 'node:worker_threads';
import { runQueueOf } from '../lab/run-queue.ts';
import { Departures, monotonicMs, Slots } from './departures.ts';
import { Histogram, type Percentiles } from './histogram.ts';
import { RawConnection } from './raw-connection.ts';
import { encodeRequest, optionsFromArgv, type LoadRequest } from './request.ts';
import { poissonSchedule } from './schedule.ts';
import type { SendingResult, SendingSetup } from './sending-thread.ts';

export interface OpenLoopOptions {
  readonly request: LoadRequest;
  readonly ratePerS: number;
  /** Sent on the same schedule but not timed. */
  readonly warmUpMs: number;
  readonly durationMs: number;
  /** Also the most requests under way at once; what is due beyond that waits, and its wait counts. */
  readonly connections: number;
  /** The same seed gives every peer the same schedule. */
  readonly seed: number;
  /**
   * How it waits for what is due next: `spin` (without it) takes a whole core, `sleep` (a thread of its own) only what it needs, for
   * where the proxy has all cores.
   */
  readonly pace?: 'spin' | 'sleep';
}

export interface OpenLoopResult {
  /** All replies, those of the warm-up included: what the proxy's CPU time is divided by. */
  readonly replies: number;
  readonly timed: number;
  readonly latencyUs: Percentiles;
  /** From due to written: what the generator itself, or a lack of free connections, added. */
  readonly lateUs: Percentiles;
  /** CPU time of the generator, as a share of one core. */
  readonly busy: number;
  /** Its threads were ready to run and waited for a core: a share of the time. */
  readonly waited: number;
  /** Due within the window and without a reply at its end; timed as if they had ended there. */
  readonly unfinished: number;
  readonly badStatus: number;
  readonly lost: number;
}

/** After the last request is due, replies are waited for this long. */
const LINGER_MS = 2000;
const CONNECT_TIMEOUT_MS = 10_000;
/** Before the first is due: a thread has to begin. */
const LEAD_MS = 300;

class OpenLoop {
  readonly #options: OpenLoopOptions;
  readonly #bytes: Buffer;
  readonly #due: Float64Array;
  readonly #slots: Slots;
  readonly #latency = new Histogram();
  readonly #connections: RawConnection[] = [];
  #startMs = 0;
  /** Undefined until all are sent. */
  #sent: number | undefined;
  #replies = 0;
  #badStatus = 0;
  #lost = 0;
  #finish: () => void = () => undefined;

  constructor(options: OpenLoopOptions) {
    const { ratePerS, warmUpMs, durationMs, seed } = options;
    this.#options = options;
    this.#bytes = encodeRequest(options.request);
    this.#due = poissonSchedule({ ratePerS, lengthMs: warmUpMs + durationMs, seed });
    this.#slots = new Slots(options.connections);
    this.#slots.clear();
  }

  async run(): Promise<OpenLoopResult> {
    await this.#connectAll();
    this.#startMs = monotonicMs() + LEAD_MS;
    const [cpu, queue, sinceMs] = [process.cpuUsage(), runQueueOf([process.pid]), monotonicMs()];
    const lateUs = await this.#send();
    const spentMs = monotonicMs() - sinceMs;
    const { user, system } = process.cpuUsage(cpu);
    const waitedMs = runQueueOf([process.pid]).waitMs - queue.waitMs;
    const unfinished = this.#countUnfinished();
    for (const connection of this.#connections) connection.destroy();
    return {
      replies: this.#replies,
      timed: this.#latency.total,
      latencyUs: this.#latency.percentilesUs(),
      lateUs,
      busy: (user + system) / 1000 / spentMs,
      waited: waitedMs / spentMs,
      unfinished,
      badStatus: this.#badStatus,
      lost: this.#lost,
    };
  }

  #connectAll(): Promise<void> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error('not all connections opened in time')), CONNECT_TIMEOUT_MS);
      let open = 0;
      for (let slot = 0; slot < this.#options.connections; slot += 1) {
        const connection = new RawConnection(slot, this.#options.request.port, {
          onOpen: (opened) => {
            this.#slots.give(opened.slot);
            if (++open < this.#options.connections) return;
            clearTimeout(timer);
            resolve();
          },
          onReply: (replied, status) => this.#onReply(replied, status),
          onLost: (gone, cause) => this.#onLost(gone, cause),
        });
        this.#connections.push(connection);
      }
    });
  }

  /** Resolves when everything has been answered, or nothing more is waited for. */
  async #send(): Promise<Percentiles> {
    const { pace = 'spin', warmUpMs, durationMs } = this.#options;
    const answered = new Promise<void>((resolve) => (this.#finish = resolve));
    const endMs = this.#startMs + warmUpMs + durationMs + LINGER_MS;
    const timer = setTimeout(() => this.#finish(), endMs - monotonicMs());
    const sending = pace === 'spin' ? this.#sendSpinning(answered) : this.#sendSleeping();
    void answered.then(() => this.#slots.stop());
    const { sent, lateUs } = await sending;
    this.#sent = sent;
    this.#finishIfDone();
    await answered;
    clearTimeout(timer);
    return lateUs;
  }

  /** Timers of 1 ms would send a dozen requests at once where each has its own microsecond. */
  async #sendSpinning(answered: Promise<void>): Promise<SendingResult> {
    const write = (slot: number): void => this.#connections[slot]?.send(this.#bytes);
    const departures = new Departures({ ...this.#timing(), slots: this.#slots, write });
    // As a thread that sleeps would, it goes on reading replies until there are no more.
    let ended = false;
    void answered.then(() => (ended = true));
    await new Promise<void>((resolve) => {
      const turn = (): void => {
        if (departures.sendDue() === Infinity) this.#sent = departures.sent;
        this.#finishIfDone();
        if (ended) resolve();
        else setImmediate(turn);
      };
      turn();
    });
    return { sent: departures.sent, lateUs: departures.late.percentilesUs() };
  }

  #sendSleeping(): Promise<SendingResult> {
    const setup: SendingSetup = {
      ...this.#timing(),
      bytes: this.#bytes,
      fds: this.#connections.map(({ fd }) => fd),
      slots: this.#slots.buffer,
    };
    const thread = new Worker(new URL('sending-thread.ts', import.meta.url), { workerData: setup, name: 'sender' });
    return new Promise((resolve, reject) => {
      thread.once('message', resolve);
      thread.once('error', reject);
    });
  }

  #timing(): { due: Float64Array; startMs: number; timedFromMs: number } {
    return { due: this.#due, startMs: this.#startMs, timedFromMs: this.#options.warmUpMs };
  }

  #onReply(connection: RawConnection, status: number): void {
    const request = this.#slots.settle(connection.slot);
    if (request === undefined) return;
    this.#replies += 1;
    if (status !== 200) this.#badStatus += 1;
    this.#time(request);
    this.#slots.give(connection.slot);
    this.#finishIfDone();
  }

  #onLost(connection: RawConnection, cause: Error | undefined): void {
    process.stderr.write(`connection ${connection.slot} lost: ${cause?.message ?? 'closed by the other side'}\n`);
    this.#lost += 1;
    if (this.#lost === this.#options.connections) this.#finish();
  }

  #finishIfDone(): void {
    if (this.#sent === this.#replies) this.#finish();
  }

  #time(request: number): void {
    const dueMs = this.#due[request] ?? 0;
    if (dueMs < this.#options.warmUpMs) return;
    this.#latency.recordUs((monotonicMs() - this.#startMs - dueMs) * 1000);
  }

  #countUnfinished(): number {
    let unfinished = 0;
    const open = this.#connections
      .map(({ slot }) => this.#slots.settle(slot))
      .filter((request) => request !== undefined);
    for (let request = this.#sent ?? 0; request < this.#due.length; request += 1) open.push(request);
    for (const request of open) {
      this.#time(request);
      unfinished += 1;
    }
    return unfinished;
  }
}

const options = optionsFromArgv() as OpenLoopOptions;
process.stdout.write(`${JSON.stringify(await new OpenLoop(options).run())}\n`);
