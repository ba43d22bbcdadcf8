import { encode } from 'dns-packet';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decodeReply, NotTheAnswer, type Question } from '../../../src/registry/dns/message.ts';
import { byPriority, shares } from '../../../src/registry/dns/srv.ts';
import { a, srv } from '../../servers/dns.ts';

const QUESTION: Question = { name: '_web._tcp.test', type: 'SRV' };
const REPLY = encode({
  type: 'response',
  id: 7,
  questions: [{ name: QUESTION.name, type: 'SRV' }],
  answers: [srv(QUESTION.name, 'one.test', 80), srv(QUESTION.name, 'two.test', 81)],
  additionals: [a('one.test', '10.0.0.1')],
});

function decodes(packet: Buffer): boolean {
  try {
    decodeReply(packet, 7, QUESTION);
    return true;
  } catch (error) {
    expect(error).toBeInstanceOf(NotTheAnswer);
    return false;
  }
}

/** A header that promises `answers` records, and whatever follows the question. */
function crafted(answers: number, ...rest: readonly Buffer[]): Buffer {
  const head = Buffer.from(encode({ type: 'response', id: 7, questions: [{ name: QUESTION.name, type: 'SRV' }] }));
  head.writeUInt16BE(answers, 6);
  return Buffer.concat([head, ...rest]);
}

describe('a hostile packet', () => {
  it('is decoded or refused, whatever bytes of it are changed', () => {
    const change = fc.tuple(fc.nat(REPLY.length - 1), fc.nat(255));
    fc.assert(
      fc.property(fc.array(change, { minLength: 1, maxLength: 6 }), fc.nat(REPLY.length), (changes, length) => {
        const packet = Buffer.from(REPLY.subarray(0, Math.max(12, length)));
        for (const [at, byte] of changes) if (at > 3 && at < packet.length) packet[at] = byte;
        decodes(packet);
      }),
    );
  });

  it('of random bytes is refused', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 600 }), (bytes) => {
        decodes(Buffer.concat([Buffer.from([0, 7, 0x80, 0]), bytes]));
      }),
    );
  });

  it('with a name that points to itself is refused', () => {
    const at = crafted(0).length;
    const loop = Buffer.from([0xc0 | (at >> 8), at & 255, 0, 33, 0, 1, 0, 0, 0, 0, 0, 7, 0, 1, 0, 1, 0, 80, 0]);
    expect(decodes(crafted(1, loop))).toBe(false);
  });

  it('that promises more records than it can hold is refused before room is made', () => {
    expect(decodes(crafted(65_535))).toBe(false);
    expect(decodes(crafted(8000))).toBe(false);
  });

  it('made of pointers to pointers costs a bounded time', () => {
    const base = crafted(0).length;
    // One record of an unknown type whose data is a chain of pointers, each to the one before.
    const links = 7000;
    const chain = Buffer.alloc(links * 2);
    const first = base + 11;
    for (let at = 1; at < links; at += 1) chain.writeUInt16BE(0xc000 | (first + 2 * (at - 1)), 2 * at);
    const carrier = Buffer.from([0, 0xff, 0x10, 0, 1, 0, 0, 0, 0, chain.length >> 8, chain.length & 255]);
    const end = 0xc000 | Math.min(0x3fff, first + 2 * (links - 1));
    const record = Buffer.from([end >> 8, end & 255, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 10, 0, 0, 1]);
    const count = Math.floor((65_000 - base - chain.length) / record.length);
    const packet = crafted(count + 1, carrier, chain, ...Array.from({ length: count }, () => record));
    const startMs = performance.now();
    expect(decodes(packet)).toBe(true);
    expect(performance.now() - startMs).toBeLessThan(1000);
  });
});

describe('weights', () => {
  const target = (weight: number, priority = 0, name = 't'): Parameters<typeof shares>[0][number] => ({
    target: name,
    port: 80,
    weight,
    priority,
  });
  const weights = (...of: number[]): number[] => shares(of.map((weight) => target(weight))).map((each) => each.weight);

  it('of zero are equal where all are zero, and a small share beside others', () => {
    expect(weights(0, 0)).toEqual([1, 1]);
    expect(weights(0, 1)).toEqual([0.01, 1]);
    expect(weights(0, 100, 200)).toEqual([1, 100, 200]);
    expect(weights(0, 65_535)).toEqual([1, 65_535]);
  });

  it('are always above zero, and never change the order', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(65_535), { minLength: 1 }), (given) => {
        const got = weights(...given);
        expect(got.every((weight) => weight > 0)).toBe(true);
        for (const [at, weight] of given.entries())
          for (const [other, heavier] of given.entries())
            if (weight < heavier) expect(got[at]!).toBeLessThan(got[other]!);
      }),
    );
  });

  it('count within a priority only, the lowest number first, without the target "."', () => {
    const groups = byPriority([target(1, 20, 'b'), target(1, 3, 'a'), target(1, 1, '.'), target(2, 20, 'c')]);
    expect(groups.map((group) => group.map((each) => each.target))).toEqual([['a'], ['b', 'c']]);
  });
});
