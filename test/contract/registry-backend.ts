import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type Instance, instance } from '../../src/core/instance.ts';
import { seededRandom } from '../../src/core/random.ts';
import { type Interest, type OnSkip, type RegistryBackend, RegistryRefusal } from '../../src/registry/backend.ts';
import { byAddress, Observation } from './observation.ts';
import { expectReleased } from './resources.ts';

/**
 * The contract suite of `RegistryBackend`: every adapter runs it against the real thing.
 *
 *     registryBackendContract('etcd', () => EtcdHarness.start(), { carries: ['id', 'weight'], lacks: { … } });
 *
 * A behaviour that a registry cannot have is declared in `lacks` with the reason, and shows as a test of its own.
 */

/** One real registry, as the suite drives it from outside: never through the backend under test. */
export interface RegistryHarness {
  /** A new backend on this registry, with deadlines short enough for `lossMs` and `halfOpenMs`. */
  backend(options: { readonly onSkip: OnSkip }): RegistryBackend;
  /** Puts the instance into the registry, in place of one with the same service and id. Resolves when it is written. */
  register(wanted: Instance): Promise<void>;
  deregister(gone: Instance): Promise<void>;
  /** Many writes as fast as the registry takes them; `register` and `deregister` one by one where it is missing. */
  applyAll?(changes: readonly RegistryWrite[]): Promise<void>;
  /** Writes one entry under the service that no adapter can accept (nonsense, port 0, a forbidden id…). */
  registerHostile?(service: string): Promise<void>;
  /** Makes the registry unreachable: connections refused, the path gone. */
  lose?(): Promise<void>;
  /** Undoes `lose` or `freeze`. The registry has what it had. */
  restore?(): Promise<void>;
  /** Silence on open connections, without an end: SIGSTOP or a black hole. */
  freeze?(): Promise<void>;
  /** The registry forgets everything, and can be reached when this resolves. */
  restartEmpty?(): Promise<void>;
  /** A backend that the registry will not let in (wrong token, password, certificate). */
  refusedBackend?(): RegistryBackend;
  close(): Promise<void>;
}

export type RegistryWrite = { readonly kind: 'register' | 'deregister'; readonly instance: Instance };

export type CarriedField = 'id' | 'weight' | 'zone' | 'version' | 'secure' | 'state' | 'metadata';
export type Ability =
  'change' | 'watch-all' | 'hostile' | 'unicode' | 'loss' | 'half-open' | 'restart-empty' | 'refusal';

export interface RegistryTraits {
  /** The fields of an instance that survive the way through this registry, beside service, host and port. */
  readonly carries: readonly CarriedField[];
  /** What this registry cannot do, and why. Everything else is required. */
  readonly lacks: Partial<Readonly<Record<Ability, string>>>;
  /** What the message of a lost registry must name. Required unless `loss` is lacking. */
  readonly lossNames?: { readonly address: RegExp; readonly setting: RegExp };
  /** What the message of a refusal must name. Required unless `refusal` is lacking. */
  readonly refusalNames?: RegExp;
  /** A change must be seen within this time. Default 5000. */
  readonly settleMs?: number;
  /** A watch must throw this soon after `lose`. Default 5000. */
  readonly lossMs?: number;
  /** A watch must throw this soon after `freeze`. Default 10000. */
  readonly halfOpenMs?: number;
  /** Writes of the burst. Default 1000. */
  readonly burst?: number;
}

const REQUIRES: Partial<Readonly<Record<Ability, readonly (keyof RegistryHarness)[]>>> = {
  hostile: ['registerHostile'],
  loss: ['lose', 'restore'],
  'half-open': ['freeze', 'restore'],
  'restart-empty': ['restartEmpty'],
  refusal: ['refusedBackend'],
};

export function registryBackendContract(
  name: string,
  makeHarness: () => Promise<RegistryHarness>,
  traits: RegistryTraits,
): void {
  describe(`${name} keeps the registry contract`, () => {
    const stage = new Stage(makeHarness, traits);
    beforeAll(() => stage.open(), 120_000);
    afterEach(() => stage.tidy());
    afterAll(() => stage.close(), 120_000);

    readingTests(stage);
    changingTests(stage);
    endingTests(stage);
    failingTests(stage);
  });
}

/** The harness with what every test needs around it: fresh service names, clean-up, comparison of what survives. */
class Stage {
  readonly traits: RegistryTraits;
  readonly settleMs: number;
  readonly skips: { service: string; id: string; why: string }[] = [];
  readonly #makeHarness: () => Promise<RegistryHarness>;
  #harness: RegistryHarness | undefined;
  #observations: Observation[] = [];
  #registered = new Map<string, Instance>();
  #names = 0;

  constructor(makeHarness: () => Promise<RegistryHarness>, traits: RegistryTraits) {
    this.#makeHarness = makeHarness;
    this.traits = traits;
    this.settleMs = traits.settleMs ?? 5000;
  }

  get harness(): RegistryHarness {
    if (!this.#harness) throw new Error('the harness is not open');
    return this.#harness;
  }

  async open(): Promise<void> {
    this.#harness = await this.#makeHarness();
  }

  async close(): Promise<void> {
    await this.#harness?.close();
  }

  /** Ends what the test left running, checks what only shows over time, and empties the registry again. */
  async tidy(): Promise<void> {
    const observations = this.#observations;
    this.#observations = [];
    await Promise.all(observations.map((each) => each.stop()));
    const left = [...this.#registered.values()];
    this.#registered.clear();
    await this.apply(left.map((each) => ({ kind: 'deregister', instance: each })));
    this.#registered.clear();
    this.skips.length = 0;
    for (const each of observations) expect(each.violations).toEqual([]);
  }

  backend(): RegistryBackend {
    return this.harness.backend({ onSkip: (what) => this.skips.push(what) });
  }

  service(): string {
    return `contract-${(this.#names += 1)}`;
  }

  async register(...wanted: readonly Instance[]): Promise<void> {
    for (const each of wanted) {
      await this.harness.register(each);
      this.#registered.set(`${each.service}/${each.id}`, each);
    }
  }

  async deregister(...gone: readonly Instance[]): Promise<void> {
    for (const each of gone) {
      await this.harness.deregister(each);
      this.#registered.delete(`${each.service}/${each.id}`);
    }
  }

  async apply(changes: readonly RegistryWrite[]): Promise<void> {
    for (const { kind, instance: each } of changes) {
      if (kind === 'register') this.#registered.set(`${each.service}/${each.id}`, each);
      else this.#registered.delete(`${each.service}/${each.id}`);
    }
    if (this.harness.applyAll) {
      await this.harness.applyAll(changes);
      return;
    }
    for (const { kind, instance: each } of changes) {
      if (kind === 'register') await this.harness.register(each);
      else await this.harness.deregister(each);
    }
  }

  forget(): void {
    this.#registered.clear();
  }

  observe(backend: RegistryBackend, ...services: readonly string[]): Observation {
    const observation = new Observation(backend, only(...services));
    this.#observations.push(observation);
    return observation;
  }

  observeAll(backend: RegistryBackend): Observation {
    const observation = new Observation(backend, { kind: 'all' });
    this.#observations.push(observation);
    return observation;
  }

  /** What the registry can carry of these instances: the part that must arrive unchanged. */
  carried(instances: Iterable<Instance>): unknown[] {
    const { carries } = this.traits;
    return byAddress(instances).map((each) => ({
      service: each.service,
      host: each.host,
      port: each.port,
      ...Object.fromEntries(
        carries.map((field) => [field, field === 'metadata' ? ownKeys(each.metadata) : each[field]]),
      ),
    }));
  }

  async seen(
    observation: Observation,
    what: string,
    wanted: readonly Instance[],
    service = wanted[0]?.service,
  ): Promise<void> {
    if (service === undefined) throw new Error('name the service');
    const goal = JSON.stringify(this.carried(wanted));
    const arrived = (): boolean => JSON.stringify(this.carried(observation.of(service))) === goal;
    try {
      await observation.until(what, arrived, this.settleMs);
    } catch (error) {
      // The difference says more than "not seen".
      expect(this.carried(observation.of(service)), String(error)).toEqual(this.carried(wanted));
      throw error;
    }
  }

  /** A test that the registry is able to run; or the declaration, with its reason, that it is not. */
  needs(ability: Ability, title: string, run: () => Promise<void>, timeoutMs?: number): void {
    const why = this.traits.lacks[ability];
    if (why === undefined) {
      it(title, run, timeoutMs);
      return;
    }
    it(`has no "${ability}" (${why}), so not: ${title}`, () => {
      expect(why).not.toBe('');
      const offered = (REQUIRES[ability] ?? []).filter(
        (method) => method !== 'restore' && this.harness[method] !== undefined,
      );
      expect(offered, `the harness can do it: drop "${ability}" from lacks`).toEqual([]);
    });
  }

  method<K extends keyof RegistryHarness>(key: K): NonNullable<RegistryHarness[K]> {
    const method = this.harness[key];
    if (method === undefined) throw new Error(`the harness has no ${key}, and its traits do not declare the lack`);
    return (method as (...rest: unknown[]) => unknown).bind(this.harness) as NonNullable<RegistryHarness[K]>;
  }
}

/** An adapter may add keys of its own, such as tags: the suite compares those it wrote. */
const METADATA_KEYS: ReadonlySet<string> = new Set(['team', 'tier', 'ort', 'quoted', 'color', 'build']);

function ownKeys(metadata: ReadonlyMap<string, string>): [string, string][] {
  return [...metadata].filter(([key]) => METADATA_KEYS.has(key)).sort();
}

function only(...services: readonly string[]): Interest {
  return { kind: 'services', names: new Set(services) };
}

const listSignal = (): AbortSignal => AbortSignal.timeout(15_000);

function member(service: string, number: number, part: Partial<Instance> = {}): Instance {
  return instance({
    service,
    id: `i${number}`,
    host: `10.1.${number >> 8}.${number & 255}`,
    port: 8000 + number,
    ...part,
  });
}

function readingTests(stage: Stage): void {
  it('opens every service with its whole truth, then says synced', async () => {
    const [first, second] = [stage.service(), stage.service()];
    const members = [member(first, 1), member(first, 2), member(second, 3)];
    await stage.register(...members);
    const watch = await stage.observe(stage.backend(), first, second).synced(stage.settleMs);
    expect(stage.carried(watch.of(first))).toEqual(stage.carried(members.slice(0, 2)));
    expect(stage.carried(watch.of(second))).toEqual(stage.carried(members.slice(2)));
    expect(watch.counts.synced).toBeGreaterThan(0);
  });

  it('carries the fields of an instance that its layout has', async () => {
    const service = stage.service();
    const full = member(service, 7, {
      weight: 3,
      zone: 'zone-a',
      version: '1.4.2',
      secure: true,
      state: 'down',
      metadata: new Map([
        ['team', 'pay'],
        ['tier', '1'],
      ]),
    });
    await stage.register(full);
    const watch = await stage.observe(stage.backend(), service).synced(stage.settleMs);
    expect(stage.carried(watch.of(service))).toEqual(stage.carried([full]));
  });

  it('answers synced, with no instance, for a service that nobody registered', async () => {
    const service = stage.service();
    const watch = await stage.observe(stage.backend(), service).synced(stage.settleMs);
    expect(watch.of(service)).toEqual([]);
    expect((await stage.backend().list(only(service), listSignal())).get(service) ?? []).toEqual([]);
  });

  it('tells nothing about services that are not of interest', async () => {
    const [wanted, other] = [stage.service(), stage.service()];
    await stage.register(member(wanted, 1), member(other, 2));
    const backend = stage.backend();
    const watch = await stage.observe(backend, wanted).synced(stage.settleMs);
    expect([...watch.table.keys()]).toEqual([wanted]);
    expect([...(await backend.list(only(wanted), listSignal())).keys()]).toEqual([wanted]);
  });

  stage.needs('change', 'tells nothing about changes of services that are not of interest', async () => {
    const [wanted, other] = [stage.service(), stage.service()];
    const watch = await stage.observe(stage.backend(), wanted).synced(stage.settleMs);
    await stage.register(member(other, 1), member(wanted, 2));
    await stage.seen(watch, 'the service of interest', [member(wanted, 2)]);
    await stage.deregister(member(other, 1), member(wanted, 2));
    await stage.seen(watch, 'its end', [], wanted);
    expect(watch.table.has(other)).toBe(false);
  });

  stage.needs('watch-all', 'follows every service when the interest is all', async () => {
    const [first, second] = [stage.service(), stage.service()];
    await stage.register(member(first, 1), member(second, 2));
    const backend = stage.backend();
    const watch = await stage.observeAll(backend).synced(stage.settleMs);
    expect(watch.of(first)).toHaveLength(1);
    expect(watch.of(second)).toHaveLength(1);
    const listed = await backend.list({ kind: 'all' }, listSignal());
    expect(stage.carried(listed.get(first) ?? [])).toEqual(stage.carried([member(first, 1)]));
  });

  stage.needs('unicode', 'keeps text beyond ASCII in metadata whole', async () => {
    const service = stage.service();
    const foreign = member(service, 1, {
      metadata: new Map([
        ['ort', 'Zürich 🚢 – 東京'],
        ['quoted', '"a\\b"\n'],
      ]),
    });
    await stage.register(foreign);
    const watch = await stage.observe(stage.backend(), service).synced(stage.settleMs);
    expect(ownKeys(watch.of(service)[0]?.metadata ?? new Map())).toEqual(ownKeys(foreign.metadata));
  });

  stage.needs('hostile', 'skips and reports a registration it cannot accept, and keeps its neighbours', async () => {
    const service = stage.service();
    await stage.register(member(service, 1));
    await stage.method('registerHostile')(service);
    const watch = await stage.observe(stage.backend(), service).synced(stage.settleMs);
    await stage.seen(watch, 'the good neighbour alone', [member(service, 1)]);
    const reports = stage.skips.filter((skip) => skip.service === service);
    expect(reports.length).toBeGreaterThan(0);
    for (const report of reports) expect(report.why).toMatch(/\w{3}/);
    expect(watch.end).toBeUndefined();
  });
}

function changingTests(stage: Stage): void {
  stage.needs('change', 'sees an instance come, change and go', async () => {
    const service = stage.service();
    const watch = await stage.observe(stage.backend(), service).synced(stage.settleMs);
    await stage.register(member(service, 1));
    await stage.seen(watch, 'the first instance', [member(service, 1)]);
    await stage.register(member(service, 2));
    await stage.seen(watch, 'the second instance', [member(service, 1), member(service, 2)]);
    const changed = member(service, 2, { weight: 5, metadata: new Map([['color', 'blue']]), state: 'down' });
    await stage.register(changed);
    await stage.seen(watch, 'the change', [member(service, 1), changed]);
    await stage.deregister(member(service, 1));
    await stage.seen(watch, 'the departure', [changed]);
  });

  stage.needs('change', 'sees the last instance of a service go, and the service come back', async () => {
    const service = stage.service();
    await stage.register(member(service, 1));
    const watch = await stage.observe(stage.backend(), service).synced(stage.settleMs);
    await stage.deregister(member(service, 1));
    await stage.seen(watch, 'the empty service', [], service);
    await stage.register(member(service, 2));
    await stage.seen(watch, 'the new instance', [member(service, 2)]);
  });

  stage.needs('change', 'serves several watches at once, and ending one leaves the others', async () => {
    const service = stage.service();
    const backend = stage.backend();
    const [first, second] = [stage.observe(backend, service), stage.observe(backend, service)];
    await Promise.all([first.synced(stage.settleMs), second.synced(stage.settleMs)]);
    await first.stop();
    await stage.register(member(service, 1));
    await stage.seen(second, 'the instance, on the watch that is left', [member(service, 1)]);
  });

  stage.needs('change', 'lists the same table as its watch after seeded churn', async () => {
    const services = [stage.service(), stage.service(), stage.service()];
    const backend = stage.backend();
    const watch = await stage.observe(backend, ...services).synced(stage.settleMs);
    const model = new Model(20261121, services);
    for (let round = 0; round < 6; round += 1) await stage.apply(model.changes(15));
    for (const service of services) await stage.seen(watch, `${service} after churn`, model.of(service), service);
    const listed = await backend.list(only(...services), listSignal());
    for (const service of services) {
      expect(stage.carried(listed.get(service) ?? [])).toEqual(stage.carried(model.of(service)));
    }
  });

  stage.needs(
    'change',
    `follows ${stage.traits.burst ?? 1000} changes in a burst to the end`,
    async () => {
      const services = Array.from({ length: 10 }, () => stage.service());
      const watch = await stage.observe(stage.backend(), ...services).synced(stage.settleMs);
      const model = new Model(4711, services, 60);
      await stage.apply(model.changes(stage.traits.burst ?? 1000));
      for (const service of services) await stage.seen(watch, `${service} after the burst`, model.of(service), service);
      expect(watch.end).toBeUndefined();
    },
    60_000,
  );
}

/** What the registry must hold after writes that a seed chose. */
class Model {
  readonly #random: () => number;
  readonly #services: readonly string[];
  readonly #spread: number;
  readonly #alive = new Map<string, Map<number, Instance>>();

  constructor(seed: number, services: readonly string[], spread = 8) {
    this.#random = seededRandom(seed);
    this.#services = services;
    this.#spread = spread;
  }

  of(service: string): readonly Instance[] {
    return [...(this.#alive.get(service)?.values() ?? [])];
  }

  changes(count: number): RegistryWrite[] {
    return Array.from({ length: count }, () => this.#change());
  }

  #change(): RegistryWrite {
    const at = Math.floor(this.#random() * this.#services.length);
    const service = this.#services[at]!;
    const alive = this.#alive.get(service) ?? new Map<number, Instance>();
    this.#alive.set(service, alive);
    const number = Math.floor(this.#random() * this.#spread);
    const present = alive.get(number);
    if (present && this.#random() < 0.4) {
      alive.delete(number);
      return { kind: 'deregister', instance: present };
    }
    // Addresses differ between services: a registry may know an address once only.
    const wanted = member(service, number, {
      host: `10.2.${at}.${number + 1}`,
      weight: 1 + Math.floor(this.#random() * 9),
      metadata: new Map([['build', String(Math.floor(this.#random() * 1000))]]),
    });
    alive.set(number, wanted);
    return { kind: 'register', instance: wanted };
  }
}

function endingTests(stage: Stage): void {
  it('ends at once when aborted, and leaves nothing open', async () => {
    const service = stage.service();
    await stage.register(member(service, 1));
    await expectReleased(async () => {
      const watch = await stage.observe(stage.backend(), service).synced(stage.settleMs);
      expect(await watch.stop()).toBeLessThan(1000);
    });
  });

  it('ends at once when aborted before its first event, or before it began', async () => {
    const service = stage.service();
    await expectReleased(async () => {
      const early = stage.observe(stage.backend(), service);
      expect(await early.stop()).toBeLessThan(1000);
      const born = new AbortController();
      born.abort();
      const seen: unknown[] = [];
      try {
        for await (const event of stage.backend().watch(only(service), born.signal)) seen.push(event);
      } catch (error) {
        expect(error).toBeInstanceOf(Error);
      }
      expect(seen).toEqual([]);
    });
  });

  it('releases everything when the consumer stops reading', async () => {
    const service = stage.service();
    await stage.register(member(service, 1));
    await expectReleased(async () => {
      const unused = new AbortController();
      for await (const event of stage.backend().watch(only(service), unused.signal)) if (event.kind === 'synced') break;
    });
  });

  it('gives up a list that is aborted', async () => {
    const service = stage.service();
    const controller = new AbortController();
    controller.abort();
    await expect(stage.backend().list(only(service), controller.signal)).rejects.toBeInstanceOf(Error);
  });
}

function failingTests(stage: Stage): void {
  const { lossNames, refusalNames } = stage.traits;
  const lossMs = stage.traits.lossMs ?? 5000;

  const expectLost = (error: unknown): void => {
    expect(error).toBeInstanceOf(Error);
    const { message } = error as Error;
    expect(lossNames, 'traits.lossNames').toBeDefined();
    expect(message).toMatch(lossNames!.address);
    expect(message).toMatch(lossNames!.setting);
  };

  const expectEnd = async (watch: Observation, cause: string, withinMs: number): Promise<void> => {
    const before = { ...watch.counts };
    const table = new Map(watch.table);
    await watch.until(`a throw after ${cause}`, () => watch.end !== undefined, withinMs);
    expectLost(watch.end?.error);
    // Losing the registry is an error, never an event about instances.
    expect({ ...watch.counts, synced: before.synced }).toEqual(before);
    expect(watch.table).toEqual(table);
  };

  stage.needs(
    'loss',
    'throws when the registry is lost, naming address and setting, and starts over when it is back',
    async () => {
      const service = stage.service();
      await stage.register(member(service, 1));
      const backend = stage.backend();
      const watch = await stage.observe(backend, service).synced(stage.settleMs);
      await stage.method('lose')();
      try {
        await expectEnd(watch, 'the loss', lossMs);
        const cold = stage.observe(backend, service);
        await cold.until('a throw of a new watch', () => cold.end !== undefined, lossMs);
        expectLost(cold.end?.error);
        expect(cold.counts).toEqual({ reset: 0, upsert: 0, remove: 0, absent: 0, synced: 0 });
        expectLost(
          await backend.list(only(service), listSignal()).then(
            () => undefined,
            (error: unknown) => error,
          ),
        );
      } finally {
        await stage.method('restore')();
      }
      const again = await stage.observe(backend, service).synced(lossMs + stage.settleMs);
      expect(stage.carried(again.of(service))).toEqual(stage.carried([member(service, 1)]));
    },
    60_000,
  );

  stage.needs(
    'half-open',
    'does not wait for ever on a connection that fell silent',
    async () => {
      const service = stage.service();
      await stage.register(member(service, 1));
      const backend = stage.backend();
      const watch = await stage.observe(backend, service).synced(stage.settleMs);
      await stage.method('freeze')();
      try {
        await expectEnd(watch, 'the silence', stage.traits.halfOpenMs ?? 10_000);
      } finally {
        await stage.method('restore')();
      }
      const again = await stage.observe(backend, service).synced(lossMs + stage.settleMs);
      expect(stage.carried(again.of(service))).toEqual(stage.carried([member(service, 1)]));
    },
    60_000,
  );

  stage.needs(
    'refusal',
    'throws a refusal that names the setting when it is not let in',
    async () => {
      const service = stage.service();
      const backend = stage.method('refusedBackend')();
      const watch = stage.observe(backend, service);
      await watch.until('a refusal', () => watch.end !== undefined, lossMs);
      expect(watch.end?.error).toBeInstanceOf(RegistryRefusal);
      expect(refusalNames, 'traits.refusalNames').toBeDefined();
      expect((watch.end?.error as Error).message).toMatch(refusalNames!);
      await expect(backend.list(only(service), listSignal())).rejects.toBeInstanceOf(RegistryRefusal);
    },
    30_000,
  );

  stage.needs(
    'restart-empty',
    'follows a registry that came back empty',
    async () => {
      const service = stage.service();
      await stage.register(member(service, 1));
      const backend = stage.backend();
      const watch = await stage.observe(backend, service).synced(stage.settleMs);
      await stage.method('restartEmpty')();
      stage.forget();
      const noticed = (): boolean => watch.end !== undefined || watch.of(service).length === 0;
      await watch.until('the restart', noticed, lossMs + stage.settleMs);
      const again = await stage.observe(backend, service).synced(lossMs + stage.settleMs);
      expect(again.of(service)).toEqual([]);
      await stage.register(member(service, 2));
      await stage.seen(again, 'the first instance of the new life', [member(service, 2)]);
    },
    60_000,
  );
}
