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
  /** The successor serves: what operators ask from now on, they ask of it. */
  readonly onServing: () => void;
  /** Lets no reload begin from now on, and waits for one that is under way: the successor reads the file itself. */
  readonly holdReloads: () => Promise<void>;
  /** This process goes on after all. `asked`: a reload was asked for meanwhile. */
  readonly allowReloads: (asked: boolean) => Promise<void>;
}

/** A successor that is not serving by then is ended. */
const DEADLINE_MS = 120_000;
/** The same, from when it was given the registries: nobody can register while it hangs. */
const RELEASED_DEADLINE_MS = 60_000;
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
  /** That serves in our place. */
  #successor: Successor | undefined;
  #hungUp = false;

  constructor(options: UpgradeOptions) {
    this.#options = options;
    this.replaced = new Promise((resolve) => (this.#resolveReplaced = resolve));
  }

  /** One at a time. Never rejects. */
  async run(): Promise<UpgradeOutcome> {
    if (this.#running) return { ok: false, reason: 'an upgrade is under way already' };
    this.#running = this.#run();
    const outcome = await this.#running;
    if (!outcome.ok) {
      this.#running = undefined;
      const asked = this.#hungUp;
      this.#hungUp = false;
      await this.#options.allowReloads(asked);
    }
    return outcome;
  }

  /**
   * A reload is asked for by a signal, which nobody answers, and which may be for the process that it names no more: it
   * is kept for whichever process serves in the end. False where there is no upgrade, and it is for this one.
   */
  hangUp(): boolean {
    if (!this.#running) return false;
    if (this.#successor) this.#successor.hangUp();
    else this.#hungUp = true;
    return true;
  }

  /** The gateway stops: a successor that does not serve yet is ended. */
  async abort(): Promise<void> {
    this.#aborted.abort();
    await this.#running;
  }

  async #run(): Promise<UpgradeOutcome> {
    const { log, spawn, sockets, drained, holdReloads, onServing } = this.#options;
    await holdReloads();
    const listening = sockets();
    const drainedBefore = drained();
    let successor: Successor | undefined;
    const registries = new GivenUp(this.#options);
    try {
      if (this.#aborted.signal.aborted) throw new Error(STOPPING);
      successor = spawn(listening.map(({ fd }) => fd));
      log.info('upgrade: a successor is starting', { pid: successor.pid, sockets: listening.length });
      const hello: FromPredecessor = {
        type: 'hello',
        protocol: PROTOCOL,
        sockets: listening.map((each, at) => ({ ...each, fd: FIRST_INHERITED_FD + at })),
        drained: drainedBefore.map(([service, instance]) => [service, instance]),
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
    onServing();
    successor.send({ type: 'farewell', ...changes(drainedBefore, drained()) } satisfies FromPredecessor);
    successor.close();
    this.#successor = successor;
    if (this.#hungUp) successor.hangUp();
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
      const within = (ms: number, what: string): void => {
        cancel();
        cancel = clock.after(ms, () => {
          fail(`the new process ${what} after ${ms / 1000} s`);
        });
      };
      within(DEADLINE_MS, 'is not ready');
      successor.onMessage((message) => {
        const parsed = fromSuccessor.safeParse(message);
        if (!parsed.success) fail('the new process speaks another protocol: restart instead');
        else if (parsed.data.type === 'serving') resolve();
        else {
          within(RELEASED_DEADLINE_MS, 'has been given the registries and does not serve');
          registries.give().then(() => successor.send({ type: 'released' } satisfies FromPredecessor), reject);
        }
      });
      void successor.exited.then((how) => {
        fail(`the new process ended before it served (${how}); it says why in its log`);
      });
      signal.addEventListener('abort', () => fail(STOPPING), { once: true });
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

const STOPPING = 'the gateway is stopping';

type Drained = readonly (readonly [service: string, instance: string])[];

/** What operators have drained, and taken back, while the successor began. */
function changes(before: Drained, after: Drained): { drained: [string, string][]; undrained: [string, string][] } {
  const without = (all: Drained, known: Drained): [string, string][] => {
    const keys = new Set(known.map((each) => each.join('/')));
    return all.filter((each) => !keys.has(each.join('/'))).map(([service, instance]) => [service, instance]);
  };
  return { drained: without(after, before), undrained: without(before, after) };
}

/** The embedded registries, while a successor has them or may have them. */
class GivenUp {
  readonly #options: UpgradeOptions;
  #given: Promise<() => Promise<void>> | undefined;

  constructor(options: UpgradeOptions) {
    this.#options = options;
  }

  async give(): Promise<void> {
    this.#given ??= this.#options.handOver();
    await this.#given;
  }

  /** Tries until it works: nobody can register meanwhile. */
  async takeBack(stopping: AbortSignal): Promise<void> {
    const { clock, log } = this.#options;
    const takeBack = await this.#given?.catch((error: unknown) => {
      log.error('defect while the embedded registry was handed over', { error });
      return undefined;
    });
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
