import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { frame, messages } from '../../../src/registry/etcd/grpc-framing.ts';
import {
  rangeReply,
  rangeRequest,
  statusLeader,
  watchCreateRequest,
  watchReply,
} from '../../../src/registry/etcd/messages.ts';
import { MalformedMessage, ProtoReader, ProtoWriter } from '../../../src/registry/etcd/protobuf.ts';

const anyText = fc.uint8Array().map((bytes) => Buffer.from(bytes).toString('utf8'));
const int64 = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n });

describe('the protobuf reader', () => {
  it('reads what the writer wrote', () => {
    fc.assert(
      fc.property(int64, anyText, fc.uint8Array(), (number, text, bytes) => {
        const written = new ProtoWriter().varint(1, number).bytes(2, text).bytes(900, bytes).finish();
        const reader = new ProtoReader(written);
        const seen: unknown[] = [0n, '', Buffer.alloc(0)];
        while (reader.next()) {
          if (reader.field === 1) seen[0] = reader.int64();
          else if (reader.field === 2) seen[1] = reader.text();
          else seen[2] = reader.bytes();
        }
        expect(seen).toEqual([number, text, Buffer.from(bytes)]);
      }),
    );
  });

  it('passes over every field it does not know', () => {
    // Fields 1 to 4, with wire types 0, 1, 5 and 2; then field 5 = 7.
    const bytes = Buffer.from('089601' + '110102030405060708' + '1d01020304' + '2203616263' + '2807', 'hex');
    const reader = new ProtoReader(bytes);
    const fields: number[] = [];
    while (reader.next()) {
      fields.push(reader.field);
      if (reader.field === 5) expect(reader.uint64()).toBe(7n);
      else reader.skip();
    }
    expect(fields).toEqual([1, 2, 3, 4, 5]);
  });

  it('answers arbitrary bytes with a message or MalformedMessage, and never reads beyond them', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        for (const read of [rangeReply, watchReply, statusLeader]) {
          try {
            read(Buffer.from(bytes));
          } catch (error) {
            expect(error).toBeInstanceOf(MalformedMessage);
          }
        }
      }),
      { numRuns: 500 },
    );
  });

  it.each([
    ['a length beyond the message', '0aff01', 'a field ends beyond its message'],
    ['a number that goes on', '08ffffffffffffffffffff01', 'a number is longer than 10 bytes'],
    ['a number that is cut off', '08ff', 'a number ends beyond its message'],
    ['a group', '0b', 'unknown wire type 3'],
    ['field number 0', '0001', 'a field has the number 0'],
    ['a length of 4 GiB', '0affffffff0f', 'a length is beyond 2 GiB'],
  ])('refuses %s', (_, hex, message) => {
    const reader = new ProtoReader(Buffer.from(hex, 'hex'));
    expect(() => {
      while (reader.next()) reader.skip();
    }).toThrow(message);
  });
});

describe('the messages', () => {
  const range = { from: Buffer.from('a'), to: Buffer.from('b') };

  it('are the bytes that protoc makes of them', () => {
    expect(rangeRequest(range, { limit: 500, revision: 300n }).toString('hex')).toBe('0a016112016218f40320ac02');
    expect(rangeRequest(range, { limit: 1, revision: 0n, keysOnly: true }).toString('hex')).toBe(
      '0a016112016218014001',
    );
    expect(watchCreateRequest(range, 301n).toString('hex')).toBe('0a0d0a016112016218ad0220014001');
  });

  it('read the watch id -1 and the member ids above 2^53 exactly', () => {
    const cancelled = new ProtoWriter().varint(2, -1n).varint(3, true).varint(4, true).bytes(6, 'why').finish();
    expect(watchReply(cancelled)).toMatchObject({ watchId: -1n, created: true, canceled: true, cancelReason: 'why' });
    expect(statusLeader(new ProtoWriter().varint(4, 0xfedc_ba98_7654_3210n).finish())).toBe('fedcba9876543210');
    expect(statusLeader(Buffer.alloc(0))).toBeUndefined();
  });
});

describe('gRPC framing', () => {
  async function read(chunks: readonly Buffer[], limit = 1000): Promise<string[]> {
    const seen: string[] = [];
    // eslint-disable-next-line @typescript-eslint/require-await
    const source = (async function* () {
      yield* chunks;
    })();
    for await (const message of messages(source, limit)) seen.push(message.toString('latin1'));
    return seen;
  }

  it('puts messages together however the bytes were cut', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.string({ maxLength: 50 })),
        fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1 }),
        async (texts, cuts) => {
          const sent = texts.map((text) => Buffer.from(text, 'utf8'));
          const bytes = Buffer.concat(sent.map(frame));
          const chunks: Buffer[] = [];
          for (let at = 0, turn = 0; at < bytes.length; turn += 1) {
            const size = cuts[turn % cuts.length] ?? 1;
            chunks.push(bytes.subarray(at, at + size));
            at += size;
          }
          expect(await read(chunks)).toEqual(sent.map((each) => each.toString('latin1')));
        },
      ),
    );
  });

  it('refuses a compressed message, one above the limit, and one that is cut off', async () => {
    await expect(read([Buffer.from('0100000000', 'hex')])).rejects.toThrow('compressed');
    await expect(read([Buffer.from('00000003e9', 'hex')])).rejects.toThrow('1001 bytes is above the limit of 1000');
    await expect(read([Buffer.from('0000000002aa', 'hex')])).rejects.toThrow('ends too early');
  });
});
