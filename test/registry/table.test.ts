import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Instance, instance } from '../../src/core/instance.ts';
import type { OnSkip } from '../../src/registry/backend.ts';
import type { Claim } from '../../src/registry/claims.ts';
import { SourceTable, type TableEvent } from '../../src/registry/table.ts';

const web = (id: number, part: Partial<Instance> = {}): Instance =>
  instance({ service: 'web', id: `i${id}`, host: `10.0.0.${id}`, port: 80, ...part });
const upsert = (each: Instance): TableEvent => ({ kind: 'upsert', instance: each });
const remove = (id: number): TableEvent => ({ kind: 'remove', service: 'web', id: `i${id}` });
const reset = (...instances: Instance[]): TableEvent => ({ kind: 'reset', service: 'web', instances });
const all = (): boolean => false;

function make(limits = { instances: 100, services: 10 }) {
  const calls: string[] = [];
  const skips: string[] = [];
  const onSkip: OnSkip = ({ service, id, why }) => skips.push(`${service}/${id}: ${why}`);
  const output = {
    name: 'memory',
    rank: 0,
    put: ({ instance: { id, weight }, held }: Claim): void => void calls.push(`+${id}×${weight}${held ? ' held' : ''}`),
    drop: ({ instance: { id, host } }: Claim): void => void calls.push(`-${id}@${host}`),
    know: (service: string): void => void calls.push(`know ${service}`),
    forget: (service: string): void => void calls.push(`forget ${service}`),
    flush: (): void => void calls.push('flush'),
  };
  const table = new SourceTable(output, limits, onSkip, () => undefined);
  return { table, output, calls, skips, take: () => calls.splice(0) };
}

describe('the table of one registry', () => {
  it('shows a slot that changed many times once, as it is in the end', () => {
    const { table, take } = make();
    for (let weight = 1; weight <= 50; weight += 1) table.apply(upsert(web(1, { weight })), weight);
    expect(table.show(all)).toEqual({ changes: 1, oldestMs: 1, finished: true });
    expect(take()).toEqual(['know web', '+i1×50', 'flush']);
  });

  it('says nothing of what came and went unseen, nor of what did not change', () => {
    const { table, take } = make();
    table.apply(reset(web(1)), 0);
    table.show(all);
    take();
    table.apply(upsert(web(2)), 0);
    table.apply(remove(2), 0);
    table.apply(reset(web(1, { metadata: new Map() })), 0);
    table.apply(remove(7), 0);
    expect(table.show(all)).toEqual({ changes: 0, oldestMs: undefined, finished: true });
    expect(take()).toEqual([]);
    expect(table.service('web')?.slots.size).toBe(1);
  });

  it('shows in slices, in the order of arrival, and loses nothing in between', () => {
    const { table, calls } = make();
    for (let id = 1; id <= 100; id += 1) table.apply(upsert(web(id)), id);
    expect(table.show(() => true)).toEqual({ changes: 31, oldestMs: 1, finished: false });
    table.apply(upsert(web(1, { weight: 9 })), 200);
    table.apply(remove(100), 201);
    expect(table.show(all)).toEqual({ changes: 69, oldestMs: 32, finished: true });
    expect(calls.filter((call) => call.startsWith('+'))).toHaveLength(100);
    expect(calls).not.toContain('+i100×1');
  });

  it('drops the old address before it shows the new one under the same id', () => {
    const { table, take } = make();
    table.apply(upsert(web(1)), 0);
    table.show(all);
    take();
    table.apply(upsert(web(1, { host: '10.9.9.9' })), 0);
    table.show(all);
    expect(take()).toEqual(['-i1@10.0.0.1', '+i1×1', 'flush']);
  });

  it('keeps what an output refused, and shows it the next time', () => {
    const { table, output, take } = make();
    const { put } = output;
    output.put = (claim) => {
      if (claim.instance.id === 'i2') throw new Error('a bug');
      put(claim);
    };
    for (const id of [1, 2, 3]) table.apply(upsert(web(id)), id);
    expect(() => table.show(all)).toThrow('a bug');
    expect(() => table.show(all)).toThrow('a bug');
    output.put = put;
    expect(table.show(all)).toEqual({ changes: 1, oldestMs: 2, finished: true });
    expect(take()).toEqual(['know web', '+i1×1', '+i3×1', '+i2×1', 'flush']);
  });

  it('knows an empty service, and forgets an absent one when its last instance has gone', () => {
    const { table, take } = make();
    table.apply(reset(), 0);
    expect(take()).toEqual(['know web']);
    table.apply(upsert(web(1)), 0);
    table.show(all);
    take();
    table.apply({ kind: 'absent', service: 'web' }, 0);
    expect(table.size).toBe(1);
    table.show(all);
    expect(take()).toEqual(['-i1@10.0.0.1', 'forget web', 'flush']);
    table.apply({ kind: 'absent', service: 'nobody' }, 0);
    expect(table.size).toBe(0);
  });

  it('shows what is kept as held, and lets it go when told', () => {
    const { table, take } = make();
    table.apply(reset(web(1), web(2)), 0);
    table.show(all);
    take();
    const departure = table.apply(reset(web(1)), 0);
    const [gone] = departure!.gone;
    table.keep(gone!.slot);
    table.show(all);
    expect(take()).toEqual(['+i2×1 held', 'flush']);
    expect([table.instances, table.held]).toEqual([2, 1]);
    table.letGo(gone!.slot, 0);
    table.show(all);
    expect(take()).toEqual(['-i2@10.0.0.2', 'flush']);
    expect([table.instances, table.held]).toEqual([1, 0]);
  });

  it('takes no more than its limits, and takes the rest once there is room', () => {
    const { table, skips } = make({ instances: 2, services: 1 });
    table.apply(reset(web(1), web(2), web(3)), 0);
    table.apply({ kind: 'reset', service: 'pay', instances: [] }, 0);
    expect(skips).toEqual(['web/i3: there are more than 2 instances', 'pay/*: there are more than 1 services']);
    table.apply(upsert(web(1, { weight: 5 })), 0);
    table.apply(remove(2), 0);
    table.apply(upsert(web(3)), 0);
    expect(skips).toHaveLength(2);
    expect(table.instances).toBe(2);
  });

  it('has shown, after any events in any slices, exactly what was reported last', () => {
    const id = fc.integer({ min: 1, max: 5 });
    const event = fc.oneof(
      fc
        .record({ id, weight: fc.integer({ min: 1, max: 3 }), port: fc.constantFrom(80, 81) })
        .map((each) => upsert(web(each.id, { weight: each.weight, port: each.port }))),
      id.map(remove),
      fc.uniqueArray(id).map((ids) => reset(...ids.map((each) => web(each)))),
      fc.constant<TableEvent>({ kind: 'absent', service: 'web' }),
    );
    fc.assert(
      fc.property(fc.array(fc.tuple(event, fc.boolean()), { maxLength: 40 }), (steps) => {
        const shown = new Map<string, Instance>();
        const key = ({ host, port }: Instance): string => `${host}:${port}`;
        const output = {
          name: 'memory',
          rank: 0,
          put: ({ instance: each }: Claim): void => void shown.set(key(each), each),
          drop: ({ instance: each }: Claim): void => expect(shown.delete(key(each))).toBe(true),
          know: (): void => undefined,
          forget: (): void => undefined,
          flush: (): void => undefined,
        };
        const table = new SourceTable(
          output,
          { instances: 100, services: 10 },
          () => undefined,
          () => undefined,
        );
        const truth = new Map<string, Instance>();
        for (const [each, show] of steps) {
          table.apply(each, 0);
          if (each.kind === 'upsert') truth.set(each.instance.id, each.instance);
          else if (each.kind === 'remove') truth.delete(each.id);
          else truth.clear();
          if (each.kind === 'reset') for (const one of each.instances) truth.set(one.id, one);
          if (show) table.show(() => true);
        }
        table.show(all);
        const flat = (instances: Iterable<Instance>): string[] =>
          [...instances].map((each) => `${each.id} ${key(each)} ${each.weight}`).sort();
        expect(flat(shown.values())).toEqual(flat(truth.values()));
        expect(table.instances).toBe(truth.size);
      }),
    );
  });
});
