import { describe, expect, it } from 'vitest';
import { planWorkers } from '../../src/gateway/worker-plan.ts';
import { load } from '../config/load-text.ts';

const everywhere = (): Promise<string | undefined> => Promise.resolve(undefined);
const nowhere = (): Promise<string | undefined> => Promise.resolve('ENOTSUP');

describe('the number of data-plane threads', () => {
  it('is that of the configuration, or of the cores', async () => {
    expect(await planWorkers(load('workers: 3'), 8, everywhere)).toMatchObject({ count: 3, reusePort: true });
    expect(await planWorkers(load('workers: auto'), 8, everywhere)).toMatchObject({ count: 8, shortage: undefined });
  });

  it('is one where sockets cannot share a port, with a warning where more are wanted', async () => {
    const plan = await planWorkers(load('workers: 3'), 8, nowhere);
    expect(plan).toMatchObject({ count: 1, wanted: 3, reusePort: false });
    expect(plan.shortage).toBe(
      'sockets cannot share a port at 0.0.0.0 on this platform (ENOTSUP): one data-plane thread serves, not the 3 that workers asks for',
    );
    expect(await planWorkers(load('workers: 1'), 8, nowhere)).toEqual({
      count: 1,
      wanted: 1,
      reusePort: false,
      shortage: undefined,
    });
  });

  it('is one where a single address of several cannot be shared', async () => {
    const asked: string[] = [];
    const config = load('gateway: { listen: ["127.0.0.1:80", "127.0.0.1:81", "[::1]:80"] }');
    const plan = await planWorkers(config, 2, (host) => {
      asked.push(host);
      return Promise.resolve(host.includes(':') ? 'EINVAL' : undefined);
    });
    expect(plan).toMatchObject({ count: 1, wanted: 2 });
    expect(plan.shortage).toContain('EINVAL');
    expect(asked).toEqual(['127.0.0.1', '::1']);
  });
});
