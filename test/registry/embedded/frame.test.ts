import { crc32 } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { FrameReader, MAX_RECORD_BYTES, type Skipped, frame } from '../../../src/registry/embedded/frame.ts';
import { decodeRecord } from '../../../src/registry/embedded/record.ts';

interface Reading {
  readonly records: string[];
  readonly skips: Skipped[];
  readonly goodLength: number;
}

function read(bytes: Buffer, chunkBytes = bytes.length || 1): Reading {
  const records: string[] = [];
  const skips: Skipped[] = [];
  const reader = new FrameReader(
    (json) => records.push(json),
    (skipped) => skips.push(skipped),
  );
  for (let at = 0; at < bytes.length; at += chunkBytes) reader.push(bytes.subarray(at, at + chunkBytes));
  return { records, skips, goodLength: reader.end() };
}

const json = fc.json({ maxDepth: 2 });
const framed = (records: readonly string[]): Buffer => Buffer.from(records.map(frame).join(''));

describe('frame', () => {
  it('is readable, with the checksum and the length in front', () => {
    expect(frame('{"a":"é"}')).toBe(`${crc32('{"a":"é"}').toString(16).padStart(8, '0')} 10 {"a":"é"}\n`);
  });
});

describe('FrameReader', () => {
  it('reads back what was framed, whatever the chunks', () => {
    fc.assert(
      fc.property(fc.array(json), fc.integer({ min: 1, max: 50 }), (records, chunkBytes) => {
        const bytes = framed(records);
        expect(read(bytes, chunkBytes)).toEqual({ records, skips: [], goodLength: bytes.length });
      }),
    );
  });

  it('loses only the last record when the end is cut off anywhere', () => {
    const records = ['{"a":1}', '{"bb":"two"}', '{"ccc":[3]}'];
    const bytes = framed(records);
    const ends = records.map((_, count) => framed(records.slice(0, count + 1)).length);
    for (let length = 0; length <= bytes.length; length++) {
      const whole = ends.filter((end) => end <= length).length;
      const { records: found, skips, goodLength } = read(bytes.subarray(0, length), 7);
      expect(found).toEqual(records.slice(0, whole));
      expect(goodLength).toBe(ends[whole - 1] ?? 0);
      expect(skips).toEqual(
        goodLength < length ? [{ offset: goodLength, bytes: length - goodLength, atEnd: true }] : [],
      );
    }
  });

  it('loses at most the record in which a byte was changed, and says where', () => {
    const records = ['{"a":1}', '{"b":"0123abcd 7 {}"}', '{"c":3}', '{"d":4}'];
    const clean = framed(records);
    const starts = records.map((_, index) => framed(records.slice(0, index)).length);
    for (let at = 0; at < clean.length; at++) {
      for (const flip of [0x01, 0x20, 0x80, 0xff]) {
        const bytes = Buffer.from(clean);
        bytes[at] = (bytes[at] ?? 0) ^ flip;
        const hit = starts.findLastIndex((start) => start <= at);
        const { records: found, skips } = read(bytes, 11);
        const others = records.filter((_, index) => index !== hit);
        expect(found.filter((record) => record !== records[hit])).toEqual(others);
        expect(skips.length).toBe(1);
        expect(skips[0]?.atEnd).toBe(hit === records.length - 1);
      }
    }
  });

  it('finds the next record behind any garbage', () => {
    fc.assert(
      fc.property(
        fc.array(json, { minLength: 1 }),
        fc.uint8Array({ minLength: 1, maxLength: 300 }),
        fc.integer({ min: 1, max: 64 }),
        (records, garbage, chunkBytes) => {
          const before = framed(records);
          const bytes = Buffer.concat([before, garbage, framed(['{"after":1}'])]);
          const { records: found, skips } = read(bytes, chunkBytes);
          expect(found).toEqual([...records, '{"after":1}']);
          expect(skips).toEqual([{ offset: before.length, bytes: garbage.length, atEnd: false }]);
        },
      ),
    );
  });

  it('takes zeros after the last record, as a loss of power leaves them, for a torn end', () => {
    const bytes = framed(['{"a":1}']);
    const { records, skips, goodLength } = read(Buffer.concat([bytes, Buffer.alloc(4096)]), 100);
    expect(records).toEqual(['{"a":1}']);
    expect(goodLength).toBe(bytes.length);
    expect(skips).toEqual([{ offset: bytes.length, bytes: 4096, atEnd: true }]);
  });

  it('refuses heads that promise too much, so that no damage makes it hoard memory', () => {
    const huge = Buffer.from(`00000000 ${MAX_RECORD_BYTES + 1} {`);
    const bytes = Buffer.concat([huge, framed(['{"a":1}'])]);
    expect(read(bytes).records).toEqual(['{"a":1}']);
    for (const head of ['00000000 0 ', '00000000 01 {', '0000000G 1 {', 'ABCDEF00 1 {']) {
      expect(read(Buffer.concat([Buffer.from(head), framed(['{"a":1}'])])).records).toEqual(['{"a":1}']);
    }
  });

  it('finds in a damaged record no text that would be a record of its own', () => {
    const wanted = '{"drop":[["web","a"]]}';
    const escaped = JSON.stringify(wanted).slice(1, -1);
    const forged = frame(escaped).replace(escaped, wanted).trimEnd();
    const bytes = Buffer.from(frame(JSON.stringify({ put: { metadata: { forged } } })));
    bytes[12] = 0x58;
    const { records } = read(bytes);
    expect(records).toEqual([escaped]);
    expect(decodeRecord(escaped)).toBe('not JSON');
  });
});
