// Sends at times fixed beforehand, whatever the replies do, and times each reply from the moment its request was DUE.
// A closed loop (wrk) waits for a slow reply and so leaves out the requests that would have met the same delay.
// Run by npm run bench; by hand: node bench/load/open-loop.ts '{"request":{…},"ratePerS":5000,…}'
import { seededRandom } from '../../src/core/random.ts';
import { Histogram, type Percentiles } from './histogram.ts';
import { RawConnection } from './raw-connection.ts';
import { encodeRequest, optionsFromArgv, type LoadRequest } from './request.ts';

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
}

export interface OpenLoopResult {
  /** All replies, those of the warm-up included: what the proxy's CPU time is divided by. */
  readonly replies: number;
  readonly timed: number;
  readonly latencyUs: Percentiles;
  /** From due to written: what the generator itself, or a lack of free connections, added. */
  readonly lateUs: Percentiles;
  /** Due within the window and without a reply at its end; timed as if they had ended there. */
  readonly unfinished: number;
  readonly badStatus: number;
  readonly lost: number;
}

/** After the last request is due, replies are waited for this long. */
const LINGER_MS = 2000;
const CONNECT_TIMEOUT_MS = 10_000;

/** Exponential gaps (a Poisson process), as from many independent clients; ascending, in ms from the start. */
function schedule(options: OpenLoopOptions): Float64Array {
  const random = seededRandom(options.seed);
  const lengthMs = options.warmUpMs + options.durationMs;
  const due: number[] = [];
  const meanGapMs = 1000 / options.ratePerS;
  for (let atMs = 0; ;) {
    atMs -= Math.log(1 - random()) * meanGapMs;
    if (atMs >= lengthMs) return Float64Array.from(due);
    due.push(atMs);
  }
}

class OpenLoop {
  readonly #options: OpenLoopOptions;
  readonly #bytes: Buffer;
  readonly #due: Float64Array;
  readonly #latency = new Histogram();
  readonly #late = new Histogram();
  readonly #connections: RawConnection[] = [];
  /** Free connections, used in turn so that all of them stay warm. */
  readonly #free: RawConnection[] = [];
  /** Index into the schedule of what each connection is waiting for; -1 = free. */
  readonly #waiting: Int32Array;
  #startMs = 0;
  #next = 0;
  #underWay = 0;
  #replies = 0;
  #badStatus = 0;
  #lost = 0;

  constructor(options: OpenLoopOptions) {
    this.#options = options;
    this.#bytes = encodeRequest(options.request);
    this.#due = schedule(options);
    this.#waiting = new Int32Array(options.connections).fill(-1);
  }

  async run(): Promise<OpenLoopResult> {
    await this.#connectAll();
    this.#startMs = performance.now() + 10;
    await new Promise<void>((resolve) => this.#turn(resolve));
    const unfinished = this.#countUnfinished();
    for (const connection of this.#connections) connection.destroy();
    return {
      replies: this.#replies,
      timed: this.#latency.total,
      latencyUs: this.#latency.percentilesUs(),
      lateUs: this.#late.percentilesUs(),
      unfinished,
      badStatus: this.#badStatus,
      lost: this.#lost,
    };
  }

  #connectAll(): Promise<void> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error('not all connections opened in time')), CONNECT_TIMEOUT_MS);
      for (let slot = 0; slot < this.#options.connections; slot += 1) {
        const connection = new RawConnection(slot, this.#options.request.port, {
          onOpen: (opened) => {
            this.#free.push(opened);
            if (this.#free.length < this.#options.connections) return;
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

  /** Spins: timers of 1 ms would send a dozen requests at once where each has its own microsecond. */
  #turn(finish: () => void): void {
    const sinceMs = performance.now() - this.#startMs;
    const due = this.#due;
    while (this.#next < due.length && (due[this.#next] ?? Infinity) <= sinceMs) {
      const connection = this.#free.shift();
      if (!connection) break;
      this.#send(connection, this.#next);
      this.#next += 1;
    }
    const allSent = this.#next === due.length;
    const endMs = this.#options.warmUpMs + this.#options.durationMs + LINGER_MS;
    if ((allSent && this.#underWay === 0) || sinceMs > endMs || this.#lost === this.#options.connections) finish();
    else setImmediate(() => this.#turn(finish));
  }

  #send(connection: RawConnection, index: number): void {
    this.#waiting[connection.slot] = index;
    this.#underWay += 1;
    connection.send(this.#bytes);
    const dueMs = this.#due[index] ?? 0;
    if (dueMs >= this.#options.warmUpMs) {
      this.#late.recordUs((performance.now() - this.#startMs - dueMs) * 1000);
    }
  }

  #onReply(connection: RawConnection, status: number): void {
    const index = this.#waiting[connection.slot] ?? -1;
    if (index === -1) return;
    this.#waiting[connection.slot] = -1;
    this.#underWay -= 1;
    this.#replies += 1;
    if (status !== 200) this.#badStatus += 1;
    this.#time(index);
    this.#free.push(connection);
  }

  #onLost(connection: RawConnection, cause: Error | undefined): void {
    process.stderr.write(`connection ${connection.slot} lost: ${cause?.message ?? 'closed by the other side'}\n`);
    this.#lost += 1;
    const index = this.#waiting[connection.slot] ?? -1;
    if (index === -1) {
      const place = this.#free.indexOf(connection);
      if (place !== -1) this.#free.splice(place, 1);
      return;
    }
    this.#waiting[connection.slot] = -1;
    this.#underWay -= 1;
  }

  #time(index: number): void {
    const dueMs = this.#due[index] ?? 0;
    if (dueMs < this.#options.warmUpMs) return;
    this.#latency.recordUs((performance.now() - this.#startMs - dueMs) * 1000);
  }

  #countUnfinished(): number {
    let unfinished = 0;
    const open = [...this.#waiting].filter((index) => index !== -1);
    for (let index = this.#next; index < this.#due.length; index += 1) open.push(index);
    for (const index of open) {
      this.#time(index);
      unfinished += 1;
    }
    return unfinished;
  }
}

const options = optionsFromArgv() as OpenLoopOptions;
process.stdout.write(`${JSON.stringify(await new OpenLoop(options).run())}\n`);
