import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ManualClock } from '../../src/core/clock.ts';
import { AccessLog, emptyAccessRecord, TARGET_CHARS, type AccessRecord } from '../../src/telemetry/access-log.ts';
import { LineSink } from '../../src/telemetry/line-sink.ts';
import { FakeFiles } from './fake-files.ts';

function logged(part: Partial<AccessRecord>): string {
  const files = new FakeFiles();
  const clock = new ManualClock();
  const sink = new LineSink({ clock, files, flushMs: 1 });
  files.automatic = false;
  new AccessLog(sink).write(Object.assign(emptyAccessRecord(), part));
  clock.advance(1);
  files.last.answer();
  return files.text;
}

test('a request is one line of JSON', () => {
  const line = logged({
    wallMs: Date.UTC(2026, 10, 21, 3, 4, 5, 67),
    service: 'payment',
    method: 'GET',
    target: '/a?b="c"',
    host: 'payment.localhost:8080',
    status: 503,
    flag: 'UH',
    instance: 'i-1',
    attempts: 2,
    panic: false,
    durationMs: 12.34567,
    upstreamMs: 12.1,
    overheadMs: 0.0199,
    bytesIn: 0,
    bytesOut: 1024,
    client: '2001:db8::1',
    requestId: 'r-1',
    userAgent: 'curl/8',
  });
  expect(line.endsWith('}\n')).toBe(true);
  expect(JSON.parse(line)).toEqual({
    time: '2026-11-21T03:04:05.067Z',
    service: 'payment',
    method: 'GET',
    target: '/a?b="c"',
    host: 'payment.localhost:8080',
    status: 503,
    flag: 'UH',
    instance: 'i-1',
    attempts: 2,
    panic: false,
    durationMs: 12.346,
    upstreamMs: 12.1,
    overheadMs: 0.02,
    bytesIn: 0,
    bytesOut: 1024,
    client: '2001:db8::1',
    requestId: 'r-1',
    traceparent: null,
    userAgent: 'curl/8',
  });
});

test('what does not apply is null', () => {
  const { service, host, flag, instance, durationMs } = JSON.parse(logged({ durationMs: Number.NaN })) as AccessRecord;
  expect([service, host, flag, instance, durationMs]).toEqual([null, null, null, null, null]);
});

describe('whatever comes in', () => {
  const anyText = fc.oneof(
    fc.string({ unit: 'binary', maxLength: 300 }),
    fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes).toString('latin1')),
    fc.constantFrom('"', '\\', '\r\n', '\u0000', '\u2028', '\ud800', '\u007f\u001b[2J', '__proto__'),
  );
  const anyNumber = fc.oneof(fc.double(), fc.integer(), fc.constantFrom(0, -0, 2 ** 53, 1e21, -1.5));

  test('a line is one line of plain ASCII that parses to what was given', () => {
    const record = fc.record({
      wallMs: fc.integer({ min: 0, max: 4e12 }),
      service: fc.option(anyText, { nil: undefined }),
      method: anyText,
      target: anyText,
      host: fc.option(anyText, { nil: undefined }),
      status: anyNumber,
      durationMs: anyNumber,
      bytesIn: anyNumber,
      client: anyText,
      requestId: anyText,
      traceparent: fc.option(anyText, { nil: undefined }),
      userAgent: fc.option(anyText, { nil: undefined }),
    });
    fc.assert(
      fc.property(record, (part) => {
        const line = logged(part);
        expect(line).toMatch(/^[ -~]*\n$/);
        const back = JSON.parse(line) as Record<string, unknown>;
        const cut = (text: string | undefined, max: number): string | null =>
          text === undefined ? null : text.length > max ? `${text.slice(0, max)}…` : text;
        expect(back.target).toBe(cut(part.target, 2048));
        expect(back.method).toBe(cut(part.method, 32));
        expect(back.userAgent).toBe(cut(part.userAgent, 256));
        expect(back.service).toBe(cut(part.service, 256));
        expect(back.time).toBe(new Date(part.wallMs).toISOString());
        if (Number.isFinite(part.durationMs)) {
          expect(back.durationMs).toBeCloseTo(part.durationMs, 2);
        } else expect(back.durationMs).toBeNull();
        expect(Object.keys(back)).toHaveLength(19);
      }),
      { numRuns: 300 },
    );
  });

  test('the longest possible line fits', () => {
    const long = '\u0001'.repeat(100_000);
    const line = logged({
      service: long,
      method: long,
      target: long,
      host: long,
      instance: long,
      client: long,
      requestId: long,
      traceparent: long,
      userAgent: long,
      durationMs: -Number.MAX_VALUE,
      upstreamMs: Number.MIN_VALUE,
      bytesIn: Number.MAX_VALUE,
    });
    expect((JSON.parse(line) as AccessRecord).target).toHaveLength(TARGET_CHARS + 1);
    expect(line.length).toBeLessThan(65_536);
  });

  test('the same object may be filled again at once', () => {
    const files = new FakeFiles();
    const clock = new ManualClock();
    const sink = new LineSink({ clock, files, flushMs: 1 });
    const log = new AccessLog(sink);
    const record = emptyAccessRecord();
    files.automatic = false;
    for (const target of ['/1', '/2', '/3']) {
      record.target = target;
      log.write(record);
    }
    clock.advance(1);
    files.last.answer();
    const targets = files.text
      .trim()
      .split('\n')
      .map((line) => (JSON.parse(line) as AccessRecord).target);
    expect(targets).toEqual(['/1', '/2', '/3']);
  });
});

test('numbers keep three decimals and no tail', () => {
  const figures = [0, 0.0004, 0.0005, 0.1, 0.12, 0.123, 1, 9.999, 9.9999, 10, 99_999.5, 123_456_789.125];
  const shown = figures.map((durationMs) => /"durationMs":([^,]*)/.exec(logged({ durationMs }))?.[1]);
  expect(shown).toEqual([
    '0',
    '0',
    '0.001',
    '0.1',
    '0.12',
    '0.123',
    '1',
    '9.999',
    '10',
    '10',
    '99999.5',
    '123456789.125',
  ]);
});
