import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { addressOf, instance } from '../../../src/core/instance.ts';
import type { Registration } from '../../../src/registry/embedded/record.ts';
import { Table } from '../../../src/registry/embedded/table.ts';

const registration = (id: string, port: number, ttlMs?: number): Registration => ({
  instance: instance({ service: 'web', id, host: '10.0.0.1', port }),
  ttlMs,
  origin: undefined,
});

describe('the table of the embedded registry', () => {
  it('finds who is registered by id and by address, few or many', () => {
    const step = fc.record({
      id: fc.constantFrom('a', 'b', 'c'),
      port: fc.integer({ min: 1, max: 4 }),
      gone: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 30 }), fc.constantFrom(0, 14, 15, 40), (steps, others) => {
        const table = new Table();
        const model = new Map<string, number>();
        for (let at = 0; at < others; at++) {
          table.put(registration(`other-${at}`, 1000 + at), 1);
          model.set(`other-${at}`, 1000 + at);
        }
        for (const { id, port, gone } of steps) {
          if (gone) {
            expect(table.remove({ service: 'web', id }, 2) !== undefined).toBe(model.delete(id));
            continue;
          }
          const holder = [...model].find(([, at]) => at === port)?.[0] ?? id;
          if (holder !== id) continue;
          expect(table.put(registration(id, port, port), 2).registration).toEqual(registration(id, port, port));
          model.set(id, port);
        }
        expect(table.size).toBe(model.size);
        for (let port = 1; port <= 4; port++) {
          const found = table.findByAddress('web', `10.0.0.1:${port}`)?.instance.id;
          expect(found).toBe([...model].find(([, at]) => at === port)?.[0]);
        }
        for (const [id, port] of model) {
          const entry = table.find({ service: 'web', id });
          expect(entry && addressOf(entry.instance)).toBe(`10.0.0.1:${port}`);
          expect(table.findById(id)).toEqual([entry]);
          expect(table.findByAddress('web', `10.0.0.1:${port}`)).toBe(entry);
        }
      }),
    );
  });
});
