import type { ReloadOutcome } from '../admin/deps.ts';
import type { Config } from '../config/config.ts';
import type { LoadResult } from '../config/load.ts';
import { type Clock, sleep } from '../core/clock.ts';
import type { Logger } from '../telemetry/log.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import type { Timeline } from '../telemetry/timeline.ts';
import { same } from './same-config.ts';

/** A part of the gateway that takes over its share of a changed configuration, in two steps. */
export interface Reloadable {
  /**
   * Opens what the new configuration needs and changes nothing that is in use. Rejects, with nothing left open, where
   * something cannot be had; the message names the setting. Followed by exactly one of `commit` and `abandon`.
   */
  prepare(next: Config, before: Config): PreparedChange | Promise<PreparedChange>;
}

export interface PreparedChange {
  /** Takes over. May not fail any more. Returns what changed, for people. */
  commit(): readonly string[] | Promise<readonly string[]>;
  /** Closes what `prepare` opened. */
  abandon(): void | Promise<void>;
}

/** For parts that have nothing to open. */
export function atOnce(commit: () => readonly string[] | Promise<readonly string[]>): PreparedChange {
  return { commit, abandon: () => undefined };
}

export interface ReloaderOptions {
  readonly clock: Clock;
  /** What the gateway was started with. */
  readonly config: Config;
  /** Reads the configuration file again. */
  readonly load: () => Promise<LoadResult>;
  /** What messages call that file. */
  readonly file: string;
  /** In the order in which they take over. */
  readonly parts: readonly Reloadable[];
  readonly log: Logger;
  readonly metrics: Pick<Metrics, 'configReload'>;
  readonly timeline: Timeline;
}

/** A disk that does not answer must not hold the reloads to come. */
const STEP_MS = 10_000;

/**
 * Takes over what has changed in the configuration file: validated first, then prepared by every part, then committed.
 * A file with mistakes, or a listener that cannot be had, changes nothing.
 */
export class Reloader {
  readonly #options: ReloaderOptions;
  #config: Config;
  #last: Promise<unknown> = Promise.resolve();
  /** Asked for, and not begun. */
  #waiting: Promise<ReloadOutcome> | undefined;
  #refusal: string | undefined;

  constructor(options: ReloaderOptions) {
    this.#options = options;
    this.#config = options.config;
  }

  /** The configuration in use, but for what waits for the next start. */
  get config(): Config {
    return this.#config;
  }

  /** One at a time; all who ask before the next one has begun share it, since it reads what is there then. Never rejects. */
  reload(): Promise<ReloadOutcome> {
    if (this.#waiting) return this.#waiting;
    const next = this.#last.then(() => {
      this.#waiting = undefined;
      return this.#reload();
    });
    this.#waiting = next;
    this.#last = next;
    return next;
  }

  /** From now on, once a reload that is under way has ended, every one is refused with this reason; undefined: allowed again. */
  async refuse(reason: string | undefined): Promise<void> {
    this.#refusal = reason;
    await this.#last;
  }

  async #reload(): Promise<ReloadOutcome> {
    let outcome: ReloadOutcome;
    try {
      if (this.#refusal !== undefined) throw new Error(this.#refusal);
      const loaded = await this.#inTime(this.#options.load(), () => undefined);
      outcome = loaded.ok ? await this.#apply(loaded.config) : loaded;
    } catch (error) {
      outcome = this.#refused(error);
    }
    const { log, metrics, timeline } = this.#options;
    metrics.configReload(outcome.ok ? 'success' : 'failure');
    if (outcome.ok) {
      timeline.add({ kind: 'config', to: 'reloaded', cause: outcome.changes.join('; ') || 'nothing has changed' });
      log.info('configuration reloaded', { changes: outcome.changes });
    } else {
      const [first] = outcome.issues;
      const cause = first ? `${first.file}:${first.line} ${first.path}: ${first.message}` : 'not said why';
      timeline.add({ kind: 'config', to: 'refused', cause });
      log.error('configuration not reloaded: nothing was changed', {
        mistakes: outcome.issues.length,
        first: first && `${first.file}:${first.line}:${first.column} ${first.path}: ${first.message}`,
      });
    }
    return outcome;
  }

  async #apply(next: Config): Promise<ReloadOutcome> {
    const { parts, log } = this.#options;
    const prepared: PreparedChange[] = [];
    try {
      for (const part of parts) {
        const preparing = Promise.resolve(part.prepare(next, this.#config));
        prepared.push(await this.#inTime(preparing, (change) => change.abandon()));
      }
    } catch (error) {
      for (const change of prepared.reverse()) await change.abandon();
      return this.#refused(error);
    }
    this.#config = next;
    const changes: string[] = [];
    for (const change of prepared) {
      try {
        changes.push(...(await change.commit()));
      } catch (error) {
        // Half of a configuration is worse than one part that stays as it was.
        log.error('defect while a changed configuration was taken over', { error });
      }
    }
    return { ok: true, changes: [...changes, ...waitingForNextStart(this.#options.config, next)] };
  }

  /** `late`: what becomes of a result that nobody waits for any more. */
  async #inTime<T>(step: Promise<T>, late: (result: T) => unknown): Promise<T> {
    const { clock, log } = this.#options;
    const enough = new AbortController();
    const outcome = await Promise.race([
      step.then((result) => ({ result })),
      sleep(clock, STEP_MS, enough.signal).then(() => undefined),
    ]).finally(() => enough.abort());
    if (outcome) return outcome.result;
    step.then(late).catch((error: unknown) => {
      log.error('a step of a reload that was given up has failed', { error });
    });
    throw new Error(`a file or a disk has not answered for ${STEP_MS / 1000} s`);
  }

  #refused(error: unknown): ReloadOutcome {
    const message = error instanceof Error ? error.message : String(error);
    return { ok: false, issues: [{ file: this.#options.file, line: 1, column: 1, path: '', message }] };
  }
}

/** Memory is laid out and threads are started by these. */
function waitingForNextStart(started: Config, next: Config): string[] {
  const values = ({ workers, metrics, gateway }: Config): [string, unknown][] => [
    ['workers', workers],
    ['metrics.perInstance', metrics.perInstance],
    ['gateway.limits.instances', gateway.limits.instances],
    ['gateway.limits.services', gateway.limits.services],
    ['gateway.stateDir', gateway.stateDir],
  ];
  const wanted = new Map(values(next));
  return values(started)
    .filter(([setting, value]) => !same(value, wanted.get(setting)))
    .map(([setting]) => `${setting} is taken over at the next start`);
}
