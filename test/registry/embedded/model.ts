import fc from 'fast-check';
import { expect } from 'vitest';
import type { EmbeddedRegistry } from '../../../src/registry/embedded/registry.ts';
import { contents, request } from './fixture.ts';

export type Operation =
  | {
      readonly kind: 'register';
      readonly service: string;
      readonly host: string;
      readonly id: string | undefined;
      readonly weight: number;
    }
  | { readonly kind: 'deregister'; readonly service: string; readonly id: string };

const service = fc.constantFrom('a', 'b');
const id = fc.constantFrom('x', 'y', 'z');

/** Few names and addresses, so that operations meet. */
export const operation: fc.Arbitrary<Operation> = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant('register' as const),
      service,
      host: fc.constantFrom('10.0.0.1', '10.0.0.2', '10.0.0.3'),
      id: fc.option(id, { nil: undefined }),
      weight: fc.integer({ min: 1, max: 3 }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('deregister' as const), service, id }) },
);

interface Held {
  readonly service: string;
  readonly id: string;
  readonly host: string;
  readonly weight: number;
}

/** What the registry must hold: the rules of registration, written down as simply as can be. */
export class Model {
  #held: readonly Held[] = [];

  contents(): string[] {
    return this.#held.map((each) => `${each.service}/${each.id} ${each.host}:80 ${each.weight} -`).sort();
  }

  /** Does the operation on both, and checks the answer. */
  async apply(registry: EmbeddedRegistry, wanted: Operation): Promise<void> {
    if (wanted.kind === 'deregister') {
      const known = this.#held.filter((each) => each.service === wanted.service && each.id === wanted.id);
      const result = await registry.deregister(wanted.id, wanted.service);
      expect(result.kind).toBe(known.length === 1 ? 'removed' : 'unknown');
      this.#held = this.#held.filter((each) => !known.includes(each));
      return;
    }
    const result = await registry.register(request(wanted));
    if (result.kind !== 'registered') throw new Error(result.kind);
    const { id: given } = result.entry.instance;
    const atAddress = this.#held.find((each) => each.service === wanted.service && each.host === wanted.host);
    if (wanted.id !== undefined) expect(given).toBe(wanted.id);
    else if (atAddress) expect(given).toBe(atAddress.id);
    else expect(this.#held.some((each) => each.id === given)).toBe(false);
    const gone = this.#held.filter(
      (each) => each.service === wanted.service && (each.host === wanted.host || each.id === given),
    );
    this.#held = [
      ...this.#held.filter((each) => !gone.includes(each)),
      { service: wanted.service, host: wanted.host, weight: wanted.weight, id: given },
    ];
    expect(contents(registry)).toEqual(this.contents());
  }
}
