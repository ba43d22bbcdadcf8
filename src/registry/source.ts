import { type Clock, sleep } from '../core/clock.ts';
import type { Instance } from '../core/instance.ts';
import type { Random } from '../core/random.ts';
import type { OnSkip, RegistryBackend, RegistryEvent } from './backend.ts';
import { FOLLOW_DEFAULTS, type FollowState, type FollowTimings, type Loss, RegistryFollower } from './follow.ts';
import type { FollowStatus } from './follow.ts';
import { GUARD_DEFAULTS, type GuardOptions, type HoldNotice, type HoldStatus, RegistryGuard } from './guard.ts';
import type { ReleaseNotice } from './guard.ts';
import { LastKnownGood, SNAPSHOT_DEFAULTS, type SnapshotOptions } from './last-known-good.ts';
import { asEvent } from './list-reader.ts';
import { EVERYTHING, mapped, type ServiceMapping } from './mapping.ts';
import type { MergeSource, RegistryMerge } from './merge.ts';
import { type Skip, SkipLog } from './skip-log.ts';
import type { LoadedSnapshot } from './snapshot-file.ts';
import { type Shown, SourceTable, type TableEvent, type TableLimits } from './table.ts';
import type { WatchEnd } from './watch-attempt.ts';

/** What there is to log and to count. Every call is short, and none may throw. */
export interface SourceListener {
  state?(state: FollowState, previous: FollowState): void;
  synced?(info: { readonly afterMs: number; readonly revision: string | undefined }): void;
  lost?(loss: Loss): void;
  event?(kind: RegistryEvent['kind']): void;
  resync?(reason: WatchEnd): void;
  leaderChanged?(leader: string, previous: string): void;
  drift?(services: readonly string[]): void;
  listFailed?(error: Error): void;
  hold?(notice: HoldNotice): void;
  release?(notice: ReleaseNotice): void;
  confirmFailed?(error: Error): void;
  skip?: OnSkip;
  snapshotUsed?(info: { readonly ageMs: number; readonly services: number; readonly instances: number }): void;
  snapshotProblem?(error: Error): void;
  /**
   * The sink threw: a bug further down. What it refused is kept, and shown again a second later. Where nobody listens to
   * this, the error is thrown on.
   */
  sinkFailed?(error: Error): void;
  /** Milliseconds from the arrival of a change to the return of the sink; of several shown together the oldest one's. */
  propagation?(durationMs: number, changes: number): void;
}

export interface RegistrySourceOptions {
  readonly name: string;
  /** Makes the backend; what it has to leave out goes to `onSkip`. */
  readonly backend: (onSkip: OnSkip) => RegistryBackend;
  readonly merge: RegistryMerge;
  readonly clock: Clock;
  readonly random: Random;
  readonly mapping?: ServiceMapping;
  readonly guard?: Partial<GuardOptions>;
  readonly follow?: Partial<FollowTimings>;
  /** Missing: nothing is saved, and a start needs the registry. */
  readonly snapshot?: SnapshotOptions;
  readonly limits?: Partial<TableLimits>;
  /** Whether our probes let an instance of the pool pass: what the guard holds then stays up to its deadline. */
  readonly passes?: (service: string, id: string) => boolean;
  readonly listener?: SourceListener;
}

export interface SourceStatus extends FollowStatus {
  readonly name: string;
  readonly type: string;
  /** It has answered once, or a saved set is loaded. */
  readonly ready: boolean;
  readonly services: number;
  /** Held ones included. */
  readonly instances: number;
  readonly held: number;
  readonly holds: readonly HoldStatus[];
  /** The age that the saved set in use had when it was loaded; undefined once the registry itself has answered. */
  readonly snapshotAgeMs: number | undefined;
  /** Since the set was last written to disk; undefined = not yet, or saving is off. */
  readonly savedAgoMs: number | undefined;
  /** The latest reason for which a saved set could not be read or written. */
  readonly snapshotProblem: string | undefined;
  readonly skipped: number;
  readonly recentSkips: readonly Skip[];
}

/** What one registry has, for `explain` and `diff`. */
export interface SourceInstance {
  readonly instance: Instance;
  readonly held: boolean;
}

const LIMITS: TableLimits = { instances: 500_000, services: 100_000 };
const SHOW_SLICE_MS = 2;
const SHOW_AGAIN_MS = 1000;

/** One registry, from its backend to the merged pool: mapped, followed, guarded, and saved. */
export class RegistrySource {
  readonly name: string;
  /** Resolves when the registry has answered once, or a saved set is loaded, and the pool shows it. Never rejects. */
  readonly ready: Promise<void>;
  readonly #options: RegistrySourceOptions;
  readonly #clock: Clock;
  readonly #listener: SourceListener;
  readonly #type: string;
  readonly #skips: SkipLog;
  readonly #output: MergeSource;
  readonly #table: SourceTable;
  readonly #guard: RegistryGuard;
  readonly #follow: RegistryFollower;
  readonly #keeper: LastKnownGood | undefined;
  #resolveReady: () => void = () => undefined;
  readonly #firstNews = new AbortController();
  readonly #stopped = new AbortController();
  #isReady = false;
  #hasAnswer = false;
  #everSynced = false;
  #snapshotAgeMs: number | undefined;
  #snapshotProblem: string | undefined;
  #cancelShow: (() => void) | undefined;
  #adopting: Promise<void> = Promise.resolve();

  /** Throws where the pool has a registry of this name, or the mapping holds a name that is none. */
  constructor(options: RegistrySourceOptions) {
    const { name, clock, random, merge, snapshot } = options;
    this.name = name;
    this.#options = options;
    this.#clock = clock;
    this.#listener = options.listener ?? {};
    this.ready = new Promise((resolve) => (this.#resolveReady = resolve));
    this.#skips = new SkipLog(
      () => clock.wall(),
      (what) => this.#listener.skip?.(what),
    );
    const backend = mapped(options.backend(this.#skips.add), options.mapping ?? EVERYTHING, this.#skips.add);
    this.#type = backend.type;
    this.#output = merge.source(name);
    this.#table = new SourceTable(this.#output, { ...LIMITS, ...options.limits }, this.#skips.add, (slot) =>
      this.#guard.returned(slot),
    );
    this.#guard = this.#makeGuard();
    this.#follow = this.#makeFollower(backend);
    this.#keeper =
      snapshot &&
      new LastKnownGood({
        ...snapshot,
        registry: name,
        clock,
        random,
        content: () => this.#worthSaving(),
        onProblem: (error) => {
          this.#snapshotProblem = error.message;
          this.#listener.snapshotProblem?.(error);
        },
      });
  }

  get isReady(): boolean {
    return this.#isReady;
  }

  start(): void {
    this.#follow.start();
    if (this.#keeper)
      this.#adopting = this.#adoptSnapshot(this.#keeper, this.#options.snapshot?.graceMs ?? SNAPSHOT_DEFAULTS.graceMs);
  }

  /**
   * Ends the watch, saves a last time, and resolves when everything is released and the name is free. What is in the
   * pool stays there.
   */
  async stop(): Promise<void> {
    this.#stopped.abort();
    this.#firstNews.abort();
    this.#guard.stop();
    await Promise.all([this.#follow.stop(), this.#adopting]);
    await this.#keeper?.stop();
    this.#cancelShow?.();
    this.#output.close();
  }

  /**
   * Takes out of the pool what this source has put there. After `stop`, when the registry leaves the configuration; or
   * when its successor of the same name is ready, so that nothing is missing in between.
   */
  withdraw(): void {
    this.#table.clear(this.#clock.now());
  }

  /** Begins the watch anew. */
  resync(): void {
    this.#follow.restart('a new start was asked for');
  }

  /** The services of which this registry knows. */
  services(): string[] {
    return [...this.#table.services()].map((service) => service.name);
  }

  tableOf(service: string): SourceInstance[] {
    return [...(this.#table.service(service)?.slots.values() ?? [])].flatMap((slot) => {
      const instance = slot.reported ?? slot.kept;
      return instance ? [{ instance, held: slot.reported === undefined }] : [];
    });
  }

  status(): SourceStatus {
    return {
      ...this.#follow.status(),
      name: this.name,
      type: this.#type,
      ready: this.#isReady,
      services: this.#table.size,
      instances: this.#table.instances,
      held: this.#table.held,
      holds: this.#guard.holds(),
      snapshotAgeMs: this.#everSynced ? undefined : this.#snapshotAgeMs,
      savedAgoMs: this.#keeper?.savedAgoMs,
      snapshotProblem: this.#snapshotProblem,
      skipped: this.#skips.count,
      recentSkips: this.#skips.recent(),
    };
  }

  #makeGuard(): RegistryGuard {
    const { guard, passes } = this.#options;
    const host = {
      confirm: (services: ReadonlySet<string>, signal: AbortSignal) => this.#confirm(services, signal),
      inContact: () => this.#follow.state === 'synced',
      passes: (instance: Instance) => {
        const shown = this.#output.publishedOf(instance);
        // Nobody to ask: better a dead instance for seconds, which probes and breakers see, than a live one lost.
        return !passes || (shown !== undefined && passes(shown.service, shown.id));
      },
      changed: () => this.#show(),
      onHold: (notice: HoldNotice) => this.#listener.hold?.(notice),
      onRelease: (notice: ReleaseNotice) => this.#listener.release?.(notice),
      onConfirmFailed: (error: unknown) => this.#listener.confirmFailed?.(asError(error)),
    };
    return new RegistryGuard(this.#table, host, this.#clock, { ...GUARD_DEFAULTS, ...guard });
  }

  #makeFollower(backend: RegistryBackend): RegistryFollower {
    const { clock, random, follow } = this.#options;
    const listener = this.#listener;
    return new RegistryFollower({
      backend,
      interest: { kind: 'all' },
      clock,
      random,
      timings: { ...FOLLOW_DEFAULTS, ...follow },
      target: {
        apply: (event, arrivedMs) => this.#apply(event, arrivedMs),
        known: () => this.#known(),
        differences: (listed, only) => this.#table.differences(listed, only),
      },
      listener: {
        state: (state, previous) => listener.state?.(state, previous),
        event: (kind) => listener.event?.(kind),
        resync: (reason) => listener.resync?.(reason),
        leaderChanged: (leader, previous) => listener.leaderChanged?.(leader, previous),
        drift: (services) => listener.drift?.(services),
        listFailed: (error) => listener.listFailed?.(error),
        lost: (loss) => {
          this.#guard.contactLost();
          listener.lost?.(loss);
          this.#firstNews.abort();
        },
        synced: (info) => {
          this.#everSynced = true;
          listener.synced?.(info);
          this.#firstNews.abort();
          this.#keeper?.start();
          this.#hasAnswer = true;
          this.#show();
        },
      },
    });
  }

  *#known(): Iterable<string> {
    for (const service of this.#table.services()) if (service.known) yield service.name;
  }

  #apply(event: TableEvent, arrivedMs: number): void {
    const departure = this.#table.apply(event, arrivedMs);
    if (departure) this.#guard.judge(departure);
    this.#show();
  }

  /** Few changes are shown in the turn they arrive in; of many, the rest follows in turns of its own. */
  #show(): void {
    if (this.#cancelShow) return;
    const startMs = this.#clock.now();
    let shown: Shown;
    try {
      shown = this.#table.show(() => this.#clock.now() - startMs >= SHOW_SLICE_MS);
    } catch (error) {
      if (!this.#listener.sinkFailed) throw error;
      this.#showLater((again) => this.#clock.after(SHOW_AGAIN_MS, again));
      this.#listener.sinkFailed(asError(error));
      return;
    }
    const { changes, oldestMs, finished } = shown;
    if (changes > 0) {
      this.#keeper?.changed();
      if (oldestMs !== undefined) this.#listener.propagation?.(this.#clock.now() - oldestMs, changes);
    }
    if (!finished) this.#showLater(soon);
    else if (this.#hasAnswer && !this.#isReady) this.#becomeReady();
  }

  #showLater(schedule: (again: () => void) => () => void): void {
    this.#cancelShow = schedule(() => {
      this.#cancelShow = undefined;
      this.#show();
    });
  }

  async #confirm(services: ReadonlySet<string>, signal: AbortSignal): Promise<ReadonlySet<string>> {
    const { listed, touched } = await this.#follow.read(services, signal);
    const answered = new Set([...services].filter((service) => !touched.has(service)));
    for (const service of answered) this.#apply(asEvent(service, listed.get(service)), this.#clock.now());
    return answered;
  }

  async #adoptSnapshot(keeper: LastKnownGood, graceMs: number): Promise<void> {
    await sleep(this.#clock, graceMs, this.#firstNews.signal);
    if (!this.#mayAdopt()) return;
    const snapshot = await keeper.load();
    if (!snapshot || !this.#mayAdopt()) return;
    this.#snapshotAgeMs = Math.max(0, this.#clock.wall() - snapshot.contactWallMs);
    const instances = await this.#adopt(snapshot.services);
    if (snapshot.skipped > 0) {
      this.#skips.add({ service: '*', id: '*', why: `${snapshot.skipped} saved instances could not be read` });
    }
    if (!this.#mayAdopt()) return;
    this.#follow.adopted(this.#snapshotAgeMs);
    this.#listener.snapshotUsed?.({ ageMs: this.#snapshotAgeMs, services: snapshot.services.size, instances });
    this.#hasAnswer = true;
    this.#show();
  }

  async #adopt(saved: LoadedSnapshot['services']): Promise<number> {
    let count = 0;
    let sliceStartMs = this.#clock.now();
    for (const [service, instances] of saved) {
      if (!this.#mayAdopt()) break;
      count += instances.length;
      // The registry may have begun to answer: what it said is newer.
      if (this.#table.service(service) === undefined)
        this.#apply({ kind: 'reset', service, instances }, this.#clock.now());
      if (this.#clock.now() - sliceStartMs < SHOW_SLICE_MS) continue;
      await new Promise((resolve) => setImmediate(resolve));
      sliceStartMs = this.#clock.now();
    }
    return count;
  }

  #mayAdopt(): boolean {
    return !this.#everSynced && !this.#stopped.signal.aborted;
  }

  /** Only what the registry itself has said at least once: a saved set is on disk already. */
  #worthSaving(): ReturnType<LastKnownGoodContent> {
    const { ageMs, revision } = this.#follow.status();
    if (!this.#everSynced || ageMs === undefined) return undefined;
    return { contactWallMs: this.#clock.wall() - ageMs, revision, services: this.#believed() };
  }

  *#believed(): Iterable<readonly [string, Iterable<Instance>]> {
    for (const service of this.#table.services()) {
      yield [service.name, this.tableOf(service.name).map((each) => each.instance)];
    }
  }

  #becomeReady(): void {
    this.#isReady = true;
    this.#resolveReady();
  }
}

function soon(task: () => void): () => void {
  const immediate = setImmediate(task);
  return () => clearImmediate(immediate);
}

function asError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error(String(thrown));
}

type LastKnownGoodContent = ConstructorParameters<typeof LastKnownGood>[0]['content'];
