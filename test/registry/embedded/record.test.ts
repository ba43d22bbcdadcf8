import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Instance, instance } from '../../../src/core/instance.ts';
import { type LogRecord, decodeRecord, encodeRecord, sameRegistration } from '../../../src/registry/embedded/record.ts';

const name = fc
  .stringMatching(/^[A-Za-z0-9_-]{1,20}$/)
  .filter((text) => !['__proto__', 'constructor', 'prototype'].includes(text));
const key = fc.record({ service: name, id: name });
const anyInstance: fc.Arbitrary<Instance> = fc
  .record({
    id: name,
    service: name,
    host: fc.oneof(fc.ipV4(), fc.ipV6(), fc.domain()),
    port: fc.integer({ min: 1, max: 65_535 }),
    weight: fc.double({ min: 0.001, max: 1000, noNaN: true }),
    zone: fc.option(fc.string(), { nil: undefined }),
    version: fc.option(fc.string({ unit: 'binary' }), { nil: undefined }),
    secure: fc.boolean(),
    state: fc.constantFrom('up', 'degraded', 'down'),
    stateReason: fc.option(fc.string(), { nil: undefined }),
    metadata: fc
      .array(fc.tuple(fc.oneof(fc.string({ minLength: 1 }), fc.constant('__proto__')), fc.string()))
      .map((pairs) => new Map(pairs)),
    checks: fc.option(fc.constant([{ type: 'http', path: '/health' } as const]), { nil: undefined }),
  })
  .map((part) => instance(part));
const registration = fc.record({ instance: anyInstance, ttlMs: fc.option(fc.integer({ min: 1 }), { nil: undefined }) });
const anyRecord: fc.Arbitrary<LogRecord> = fc.oneof(
  fc.record({ kind: fc.constant('put' as const), registration, drop: fc.array(key, { maxLength: 3 }) }),
  fc.record({ kind: fc.constant('drop' as const), drop: fc.array(key, { minLength: 1, maxLength: 3 }) }),
  fc.record({ kind: fc.constant('reserve' as const), index: fc.nat() }),
  fc.record({ kind: fc.constant('format' as const), format: fc.nat() }),
);

describe('log records', () => {
  it('come back as they were written', () => {
    fc.assert(
      fc.property(anyRecord, (record) => {
        const json = encodeRecord(record);
        expect(json).not.toContain('\n');
        expect(decodeRecord(json)).toEqual(record);
      }),
    );
  });

  it.each([
    ['no JSON', '{', 'not JSON'],
    ['a list', '[]', 'not an object'],
    ['null', 'null', 'not an object'],
    ['nothing known', '{}', 'of no known kind'],
    ['an empty drop', '{"drop":[]}', 'of no known kind'],
    ['a drop that is no list', '{"drop":{}}', 'drop is not a list'],
    ['a drop of texts', '{"drop":["a"]}', 'drop is not a list'],
    ['a put that is no object', '{"put":1}', 'put is not an object'],
    ['a forbidden service', '{"put":{"service":"__proto__"}}', 'no service name'],
    ['no id', '{"put":{"service":"a"}}', 'no id'],
    ['no host', '{"put":{"service":"a","id":"b"}}', 'no host'],
    ['no port', '{"put":{"service":"a","id":"b","host":"h","port":1.5}}', 'no port'],
    ['a ttl of 0', '{"put":{"service":"a","id":"b","host":"h","port":1,"ttlMs":0}}', 'a ttl'],
    ['a weight of 0', '{"put":{"service":"a","id":"b","host":"h","port":1,"weight":0}}', 'a weight'],
    ['an unknown state', '{"put":{"service":"a","id":"b","host":"h","port":1,"state":"x"}}', 'an unknown state'],
  ])('are refused where they hold %s', (_, json, why) => {
    expect(decodeRecord(json)).toContain(why);
  });

  it('tell a registration that changes something from one that does not', () => {
    fc.assert(
      fc.property(registration, (known) => {
        const copy = { ...known, instance: { ...known.instance, metadata: new Map(known.instance.metadata) } };
        expect(sameRegistration(known, copy)).toBe(true);
        expect(sameRegistration(known, { ...known, ttlMs: (known.ttlMs ?? 0) + 1 })).toBe(false);
        expect(
          sameRegistration(known, { ...known, instance: { ...known.instance, port: known.instance.port + 1 } }),
        ).toBe(false);
      }),
    );
  });
});
