import { describe, expect, it } from 'vitest';
import { descriptorLimit } from '../../src/gateway/descriptors.ts';
import { probeSockets } from '../../src/gateway/probing.ts';

const LIMITS = `Limit                     Soft Limit           Hard Limit           Units     
Max cpu time              unlimited            unlimited            seconds   
Max open files            20000                40000                files     
`;

describe('the limit of descriptors', () => {
  it('is what the kernel says, where it says so', () => {
    expect(descriptorLimit(() => LIMITS)).toBe(20_000);
    expect(descriptorLimit(() => LIMITS.replace('20000', 'unlimited'))).toBe(Number.POSITIVE_INFINITY);
    expect(descriptorLimit(() => 'something else')).toBeUndefined();
    expect(
      descriptorLimit(() => {
        throw new Error('ENOENT');
      }),
    ).toBeUndefined();
  });

  it('leaves at least half of them to clients and their requests', () => {
    for (const limit of [4, 256, 1024, 20_000, 65_536]) {
      const { concurrency, maxKept } = probeSockets(limit);
      expect(concurrency + maxKept).toBeLessThanOrEqual(limit / 2);
    }
  });

  it('bounds probes by their own limits where there are plenty, or where nobody knows', () => {
    expect(probeSockets(1_048_576)).toEqual({ concurrency: 16_384, maxKept: 131_072 });
    expect(probeSockets(Number.POSITIVE_INFINITY)).toEqual({ concurrency: 16_384, maxKept: 131_072 });
    expect(probeSockets(undefined)).toEqual({ concurrency: 16_384, maxKept: 10_000 });
  });
});
