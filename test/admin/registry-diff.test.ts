import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { diffTables, type RegistryTable } from '../../src/admin/registry-diff.ts';
import { instance } from '../../src/core/instance.ts';

const at = (host: string, port = 80, part = {}) =>
  instance({ id: `${host}-${port}`, service: 'web', host, port, ...part });

describe('the difference of two registries', () => {
  it('is by address and not by id, and names what they say differently', () => {
    const first: RegistryTable = new Map([
      ['web', [at('10.0.0.1'), at('10.0.0.2', 80, { weight: 2 }), at('fd00::1')]],
      ['old', [at('10.0.0.9')]],
    ]);
    const second: RegistryTable = new Map([
      ['web', [{ ...at('10.0.0.1'), id: 'other' }, at('10.0.0.2'), at('10.0.0.3', 80, { zone: 'b' })]],
    ]);
    expect(diffTables(first, second)).toEqual({
      same: 1,
      differences: [
        { service: 'old', address: '10.0.0.9:80', kind: 'only-first', fields: [] },
        {
          service: 'web',
          address: '10.0.0.2:80',
          kind: 'differs',
          fields: [{ name: 'weight', first: '2', second: '1' }],
        },
        { service: 'web', address: '10.0.0.3:80', kind: 'only-second', fields: [] },
        { service: 'web', address: '[fd00::1]:80', kind: 'only-first', fields: [] },
      ],
    });
  });

  it('is empty between equals, and mirrored the other way round', () => {
    const tables = fc
      .uniqueArray(
        fc.tuple(fc.constantFrom('a', 'b'), fc.integer({ min: 1, max: 9 }), fc.integer({ min: 1, max: 3 })),
        {
          selector: ([service, port]) => `${service}${port}`,
        },
      )
      .map((rows): RegistryTable => {
        const table = new Map<string, ReturnType<typeof at>[]>();
        for (const [service, port, weight] of rows) {
          table.set(service, [...(table.get(service) ?? []), at('10.0.0.1', port, { weight })]);
        }
        return table;
      });
    fc.assert(
      fc.property(tables, tables, (one, other) => {
        expect(diffTables(one, one).differences).toEqual([]);
        const there = diffTables(one, other);
        const back = diffTables(other, one);
        expect(back.same).toBe(there.same);
        expect(back.differences.map(({ service, address }) => `${service} ${address}`)).toEqual(
          there.differences.map(({ service, address }) => `${service} ${address}`),
        );
      }),
    );
  });
});
