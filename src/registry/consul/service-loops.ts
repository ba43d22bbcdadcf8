import { sleep, type Clock } from '../../core/clock.ts';
import type { Random } from '../../core/random.ts';
import type { OnSkip } from '../backend.ts';
import { NO_WAIT, type ConsulApi } from './api.ts';
import { Cursor } from './cursor.ts';
import { Gate } from './gate.ts';
import { fingerprint, readHealth } from './health.ts';
import type { Truth } from './mailbox.ts';
import { TokenBucket, type Rate } from './token-bucket.ts';

export interface ServiceLoopsOptions {
  /** Longest wait of a waiting read, before jitter. */
  readonly waitMs: number;
  /** Services with a waiting read of their own; the others are polled. */
  readonly maxWatches: number;
  readonly pollsPerSecond: number;
  readonly clock: Clock;
  readonly random: Random;
  readonly onSkip: OnSkip;
  /** Consul answered; `news` is what has changed by it. The first call per service comes with its first answer. */
  readonly onAnswer: (service: string, index: bigint, news: Truth | undefined) => void;
  /** Once; nothing else is called after it. */
  readonly onError: (error: unknown) => void;
}

interface Loop {
  readonly service: string;
  readonly cursor: Cursor;
  readonly stop: AbortController;
  /** What was told last: a fingerprint, or ABSENT. */
  told: string | undefined;
  /** It has one of the `maxWatches` places. */
  isHeld: boolean;
  /** The next answer is the first of another history. */
  restarted: boolean;
}

function isStopped(loop: Loop): boolean {
  return loop.stop.signal.aborted;
}

/** No fingerprint looks like this. */
const ABSENT = 'absent';
/** First reads under way at once. */
const FIRST_READS = 16;
const POLLERS = 4;
/** A loop may turn so often. Waiting reads return for reasons of Consul's own, and under churn at once. */
const RATE: Rate = { burst: 50, perSecond: 10 };

/**
 * Follows services one by one: each with a loop of waiting reads, as many as there are places for; those beyond are
 * read in turn, without waiting, at a bounded rate.
 */
export class ServiceLoops {
  readonly #api: ConsulApi;
  readonly #options: ServiceLoopsOptions;
  readonly #loops = new Map<string, Loop>();
  readonly #polled = new Set<Loop>();
  readonly #firstReads = new Gate(FIRST_READS);
  readonly #polls: TokenBucket;
  readonly #stop = new AbortController();
  #pollers = 0;
  #held = 0;

  constructor(api: ConsulApi, options: ServiceLoopsOptions) {
    this.#api = api;
    this.#options = options;
    this.#polls = new TokenBucket({ burst: POLLERS, perSecond: options.pollsPerSecond }, options.clock);
  }

  get size(): number {
    return this.#loops.size;
  }

  /** Idempotent. */
  add(service: string): void {
    if (this.#loops.has(service)) return;
    const loop = {
      service,
      cursor: new Cursor(),
      stop: new AbortController(),
      told: undefined,
      isHeld: false,
      restarted: false,
    };
    this.#loops.set(service, loop);
    this.#run(this.#follow(loop));
  }

  /** Stops following a service whose last answer was empty; any other goes on. */
  dropIfAbsent(service: string): void {
    const loop = this.#loops.get(service);
    if (loop?.told === ABSENT) this.#drop(loop);
  }

  /** Ends everything. Idempotent. */
  close(): void {
    this.#stop.abort();
    for (const loop of this.#loops.values()) loop.stop.abort();
  }

  /** A loop that was stopped may end in an error of its torn-down request; every other error counts. */
  #run(task: Promise<void>): void {
    task.catch((error: unknown) => {
      if (this.#stop.signal.aborted) return;
      this.close();
      this.#options.onError(error);
    });
  }

  async #follow(loop: Loop): Promise<void> {
    await this.#firstReads.run(() => this.#read(loop, 0));
    if (loop.stop.signal.aborted) return;
    if (this.#held < this.#options.maxWatches) {
      await this.#hold(loop);
      return;
    }
    this.#polled.add(loop);
    if (this.#pollers === POLLERS) return;
    this.#pollers += 1;
    await this.#poll();
  }

  async #hold(loop: Loop): Promise<void> {
    const { clock, waitMs, random } = this.#options;
    const bucket = new TokenBucket(RATE, clock);
    loop.isHeld = true;
    this.#held += 1;
    while (!loop.stop.signal.aborted) {
      // Without jitter, all watches that began together would come back together, every time.
      await this.#read(loop, waitMs * (0.9 + 0.2 * random()));
      await bucket.take(loop.stop.signal);
    }
  }

  async #poll(): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      const [next] = this.#polled;
      if (!next) {
        await sleep(this.#options.clock, 1000, signal);
        continue;
      }
      // Out while it is read, so that no two pollers read it; at the end of the round after that.
      this.#polled.delete(next);
      await this.#polls.take(signal);
      await this.#read(next, 0);
      if (!next.stop.signal.aborted) this.#polled.add(next);
    }
  }

  /** One turn of a loop. `waitMs` 0 = do not wait for a change. */
  async #read(loop: Loop, waitMs: number): Promise<void> {
    const { service, cursor, stop } = loop;
    if (stop.signal.aborted) return;
    const wait = waitMs > 0 ? { index: cursor.index, waitMs } : NO_WAIT;
    try {
      const answer = await this.#api.health(service, wait, loop.told !== ABSENT, stop.signal);
      const isUsable = cursor.advance(answer);
      if (!isUsable) loop.restarted = true;
      if (isUsable || waitMs === 0) this.#tell(loop, answer.index, answer.body, answer.endpoint);
    } catch (error) {
      if (!isStopped(loop)) throw error;
    }
  }

  #tell(loop: Loop, index: bigint, body: unknown, endpoint: string): void {
    const { service } = loop;
    const instances = readHealth(service, body, this.#options.onSkip);
    if (!instances) throw this.#api.malformed(endpoint, `/v1/health/service/${service}`);
    const isAbsent = Array.isArray(body) && body.length === 0;
    const now = isAbsent ? ABSENT : fingerprint(instances);
    const isNews = now !== loop.told;
    loop.told = now;
    const { restarted } = loop;
    loop.restarted = false;
    const truth: Truth = isAbsent
      ? { kind: 'absent', service, restarted }
      : { kind: 'reset', service, instances, restarted };
    this.#options.onAnswer(service, index, isNews ? truth : undefined);
  }

  #drop(loop: Loop): void {
    loop.stop.abort();
    this.#loops.delete(loop.service);
    this.#polled.delete(loop);
    if (!loop.isHeld) return;
    this.#held -= 1;
    // Its place goes to one that was only polled so far.
    const [next] = this.#polled;
    if (!next) return;
    this.#polled.delete(next);
    this.#run(this.#hold(next));
  }
}
