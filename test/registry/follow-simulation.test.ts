import { describe, expect, it } from 'vitest';
import { ManualClock } from '../../src/core/clock.ts';
import { addressOf, type Instance, instance } from '../../src/core/instance.ts';
import { type Random, seededRandom } from '../../src/core/random.ts';
import type { FollowState } from '../../src/registry/follow.ts';
import { RegistryMerge } from '../../src/registry/merge.ts';
import { RegistrySource } from '../../src/registry/source.ts';
import { MemoryBackend, MemoryRegistry } from '../contract/memory-backend.ts';
import { RecordingSink } from './recording-sink.ts';

const SERVICES = ['web', 'pay', 'mail', 'solo'];
const DEADLINE_MS = 30_000;

/**
 * Two registries that come and go, freeze, refuse, forget and lie, with instances that live and die; and a gateway that
 * follows both. `law` is checked whenever an instance leaves the pool.
 */
class World {
  readonly clock = new ManualClock();
  readonly sink = new RecordingSink();
  readonly merge = new RegistryMerge(this.sink, this.clock);
  readonly registries = [new MemoryRegistry(), new MemoryRegistry()];
  readonly sources: RegistrySource[];
  readonly random: Random;
  /** Addresses whose process runs: what our probes would pass. */
  readonly alive = new Set<string>();
  /** By registry: what the gateway knew of it when it was lost. */
  readonly knownAtLoss: Set<string>[] = [];
  readonly violations: string[] = [];
  readonly log: string[] = [];

  constructor(seed: number) {
    this.random = seededRandom(seed);
    this.sources = this.registries.map(
      (registry, at) =>
        new RegistrySource({
          name: `r${at}`,
          backend: (onSkip) =>
            new MemoryBackend(registry, { clock: this.clock, silenceMs: 9000, listDelayMs: 700, onSkip }),
          merge: this.merge,
          clock: this.clock,
          random: this.random,
          guard: { deadlineMs: DEADLINE_MS },
          follow: { relistMs: 60_000 },
          listener: { state: (state) => this.#noteState(at, state) },
          passes: (service, id) => this.alive.has(addressOf(this.sink.pool.get(`${service}/${id}`)!)),
        }),
    );
    this.sink.onRemove = (gone) => this.#law(gone);
  }

  /**
   * What a registry in contact truly holds stays in the pool, whatever it said for a moment; and what was known of one
   * that is lost stays until it is back.
   */
  #law(gone: Instance): void {
    const key = `${gone.service} ${addressOf(gone)}`;
    for (const [at, registry] of this.registries.entries()) {
      const inContact = this.sources[at]!.status().state === 'synced';
      const known = inContact || this.knownAtLoss[at]?.has(key) === true;
      // A registry that is up may be answering a new watch just now, and what it says is to be believed.
      const mustStay = registry.state === 'up' ? known && this.#holds(registry, key) : known && !inContact;
      if (mustStay) this.violations.push(`${key} left although r${at} has it\n${this.log.slice(-20).join('\n')}`);
    }
  }

  #holds(registry: MemoryRegistry, key: string): boolean {
    return [...registry.services.values()].some((table) =>
      [...table.values()].some((each) => `${each.service} ${addressOf(each)}` === key),
    );
  }

  #noteState(at: number, state: FollowState): void {
    const source = this.sources[at]!;
    const known = state === 'synced' ? [] : source.services().flatMap((service) => source.tableOf(service));
    this.knownAtLoss[at] ??= new Set();
    if (state === 'synced') this.knownAtLoss[at].clear();
    for (const { instance: each } of known) this.knownAtLoss[at].add(`${each.service} ${addressOf(each)}`);
  }

  pick<T>(list: readonly T[]): T {
    return list[Math.floor(this.random() * list.length)]!;
  }

  chance(probability: number): boolean {
    return this.random() < probability;
  }

  async pass(ms: number): Promise<void> {
    await this.clock.advanceAsync(ms, 50);
  }

  /** Lets what was caused run to its end before the next cause. */
  async settle(): Promise<void> {
    for (let turn = 0; turn < 5; turn += 1) await new Promise((resolve) => setImmediate(resolve));
  }

  async act(): Promise<void> {
    const at = Math.floor(this.random() * this.registries.length);
    const registry = this.registries[at]!;
    const [name, run] = this.pick(this.#actions(registry));
    this.log.push(`${this.clock.now()} r${at} ${name} (${registry.state})`);
    run();
    await this.settle();
    const quietMs = this.pick([400, 400, 400, 400, 5000, 5000, 40_000]);
    await this.pass(quietMs * this.random());
  }

  #actions(registry: MemoryRegistry): [string, () => void][] {
    const service = this.pick(SERVICES);
    const known = [...(registry.services.get(service)?.values() ?? [])];
    return [
      ...Array.from({ length: 6 }, (): [string, () => void] => ['register', () => this.#register(registry, service)]),
      ['deregister', () => this.#leave(registry, known)],
      ['deregister', () => this.#leave(registry, known)],
      ['lie', () => this.#lie(registry, service, known)],
      ['lie', () => this.#lie(registry, service, known)],
      ['scale to zero', () => this.#scaleToZero(registry, service, known)],
      ['lose', () => registry.lose()],
      ['freeze', () => registry.freeze()],
      ['refuse', () => registry.refuse()],
      ['restore', () => registry.restore()],
      ['restore', () => registry.restore()],
      ['restart empty', () => registry.restartEmpty()],
    ];
  }

  #register(registry: MemoryRegistry, service: string): void {
    const number = service === 'solo' ? 1 : 1 + Math.floor(this.random() * 9);
    const each = instance({
      service,
      id: `i${number}`,
      host: `10.0.${SERVICES.indexOf(service)}.${number}`,
      port: 80,
      weight: this.pick([1, 2]),
    });
    this.alive.add(addressOf(each));
    registry.register(each);
  }

  #leave(registry: MemoryRegistry, known: readonly Instance[]): void {
    if (known.length === 0) return;
    const gone = this.pick(known);
    registry.deregister(gone.service, gone.id);
  }

  /** As around a leader election: an answer that is much too small, corrected only by whoever asks again. */
  #lie(registry: MemoryRegistry, service: string, known: readonly Instance[]): void {
    const instances = known.slice(0, Math.floor((known.length - 1) / 2));
    registry.lie(this.chance(0.5) ? { kind: 'reset', service, instances } : { kind: 'absent', service });
  }

  #scaleToZero(registry: MemoryRegistry, service: string, known: readonly Instance[]): void {
    for (const each of known) this.alive.delete(addressOf(each));
    registry.replace(service, []);
  }

  /** What the pool should be: every address of either registry, as the first of them says. */
  truth(): string[] {
    const wanted = new Map<string, string>();
    for (const registry of [...this.registries].reverse()) {
      for (const table of registry.services.values()) {
        for (const each of table.values()) wanted.set(`${each.service} ${addressOf(each)}`, `${each.weight}`);
      }
    }
    return [...wanted].map(([key, weight]) => `${key} ${weight}`).sort();
  }

  pool(): string[] {
    return [...this.sink.pool.values()].map((each) => `${each.service} ${addressOf(each)} ${each.weight}`).sort();
  }

  async stop(): Promise<void> {
    const stopped = Promise.all(this.sources.map((source) => source.stop()));
    await this.pass(10_000);
    await stopped;
  }
}

describe('a gateway between registries that fail in every way', () => {
  const seeds = Array.from({ length: 60 }, (_, at) => 1000 + at);

  it.each(seeds)(
    'never loses what a registry has, and in the end shows exactly what they have (seed %i)',
    async (seed) => {
      const world = new World(seed);
      for (const source of world.sources) source.start();
      await world.pass(1000);
      for (let step = 0; step < 120; step += 1) await world.act();
      expect(world.violations).toEqual([]);

      for (const registry of world.registries) registry.restore();
      await world.pass(30_000 + 5000 + DEADLINE_MS + 5000);
      const context = world.log.slice(-30).join('\n');
      expect(world.pool(), context).toEqual(world.truth());
      for (const source of world.sources) {
        expect(source.status(), context).toMatchObject({ state: 'synced', held: 0, holds: [], ready: true });
      }

      await world.stop();
      expect(world.clock.pending).toBe(0);
      for (const registry of world.registries) expect(registry.watchers).toBe(0);
    },
  );
});
