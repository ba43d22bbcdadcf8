import type { UpgradeOutcome } from '../admin/deps.ts';
import { type Clock, sleep } from '../core/clock.ts';
import type { Logger } from '../telemetry/log.ts';
import { FIRST_INHERITED_FD, type SpawnSuccessor, type Successor } from './channel.ts';
import { type FromPredecessor, fromSuccessor, PROTOCOL } from './handover.ts';
import type { NamedSocket } from './sockets.ts';

export interface UpgradeOptions {
  readonly clock: Clock;
  readonly log: Logger;
  readonly spawn: SpawnSuccessor;
  /** Everything that is listened on. */
  readonly sockets: () => readonly NamedSocket[];
  readonly drained: () => (readonly [service: string, instance: string])[];
  /** Gives the embedded registries up; the result takes them back, and may reject. */
  readonly handOver: () => Promise<() => Promise<void>>;
}

/** A successor that is not serving by then is ended. */
const DEADLINE_MS = 120_000;
const EXIT_MS = 5000;
const AGAIN_MS = 1000;

/** The side of the gateway that is being replaced. */
export class Upgrade {
  /** Resolves when a successor serves. */
  readonly replaced: Promise<void>;
  readonly #options: UpgradeOptions;
  readonly #aborted = new AbortController();
  #resolveReplaced: () => void = () => undefined;
  #running: Promise<UpgradeOutcome> | undefined;

  constructor(options: UpgradeOptions) {
    this.#options = options;
    this.replaced = new Promise((resolve) => (this.#resolveReplaced = resolve));
  }

  /** One at a time. Never rejects. */
  async run(): Promise<UpgradeOutcome> {
    if (this.#running) return { ok: false, reason: 'an upgrade is under way already' };
    this.#running = this.#run();
    const outcome = await this.#running;
    if (!outcome.ok) this.#running = undefined;
    return outcome;
  }

  /** The gateway stops: a successor that does not serve yet is ended. */
  async abort(): Promise<void> {
    this.#aborted.abort();
    await this.#running;
  }

  async #run(): Promise<UpgradeOutcome> {
    const { log, spawn, sockets, drained } = this.#options;
    const listening = sockets();
    let successor: Successor | undefined;
    const registries = new GivenUp(this.#options);
    try {
      successor = spawn(listening.map(({ fd }) => fd));
      log.info('upgrade: a successor is starting', { pid: successor.pid, sockets: listening.length });
      const hello: FromPredecessor = {
        type: 'hello',
        protocol: PROTOCOL,
        sockets: listening.map((each, at) => ({ ...each, fd: FIRST_INHERITED_FD + at })),
        drained: drained().map(([service, instance]) => [service, instance]),
      };
      successor.send(hello);
      await this.#untilServing(successor, registries);
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      log.error('upgrade failed: this process goes on', { reason });
      if (successor) await this.#end(successor);
      await registries.takeBack(this.#aborted.signal);
      return { ok: false, reason };
    }
    successor.close();
    log.info('upgrade: the successor serves', { pid: successor.pid });
    this.#resolveReplaced();
    return { ok: true, pid: successor.pid };
  }

  #untilServing(successor: Successor, registries: GivenUp): Promise<void> {
    const { clock } = this.#options;
    const { signal } = this.#aborted;
    let cancel = (): void => undefined;
    return new Promise<void>((resolve, reject) => {
      const fail = (why: string): void => {
        reject(new Error(why));
      };
      cancel = clock.after(DEADLINE_MS, () => {
        fail(`the new process is not ready after ${DEADLINE_MS / 1000} s`);
      });
      successor.onMessage((message) => {
        const parsed = fromSuccessor.safeParse(message);
        if (!parsed.success) fail('the new process speaks another protocol: restart instead');
        else if (parsed.data.type === 'serving') resolve();
        else registries.give().then(() => successor.send({ type: 'released' } satisfies FromPredecessor), reject);
      });
      void successor.exited.then((how) => {
        fail(`the new process ended before it served (${how}); it says why in its log`);
      });
      if (signal.aborted) fail('the gateway is stopping');
      signal.addEventListener('abort', () => fail('the gateway is stopping'), { once: true });
    }).finally(() => {
      cancel();
    });
  }

  async #end(successor: Successor): Promise<void> {
    successor.kill();
    const enough = new AbortController();
    await Promise.race([successor.exited, sleep(this.#options.clock, EXIT_MS, enough.signal)]);
    enough.abort();
  }
}

/** The embedded registries, while a successor has them or may have them. */
class GivenUp {
  readonly #options: UpgradeOptions;
  #given: Promise<() => Promise<void>> | undefined;

  constructor(options: UpgradeOptions) {
    this.#options = options;
  }

  async give(): Promise<void> {
    this.#given = this.#options.handOver();
    await this.#given;
  }

  /** Tries until it works: nobody can register meanwhile. */
  async takeBack(stopping: AbortSignal): Promise<void> {
    const { clock, log } = this.#options;
    const takeBack = await this.#given;
    for (let given = takeBack !== undefined; given && !stopping.aborted;) {
      try {
        await takeBack?.();
        given = false;
      } catch (error) {
        log.error('the embedded registry could not be taken back yet', { error });
        await sleep(clock, AGAIN_MS, stopping);
      }
    }
  }
}
