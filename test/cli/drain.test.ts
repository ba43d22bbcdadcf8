import { describe, expect, test } from 'vitest';
import { drain } from '../../src/cli/drain.ts';
import { undrain } from '../../src/cli/undrain.ts';
import { UsageError } from '../../src/cli/verb.ts';
import type { Member } from '../../src/upstream/directory.ts';
import { CliFixture } from './admin-fixture.ts';

function busy(inflight: number): { it: CliFixture; member: Member } {
  const it = new CliFixture();
  const member = it.gateway.add('i-1');
  it.gateway.add('i-2');
  it.gateway.figures.inflight[member.slot] = inflight;
  return { it, member };
}

describe('drain', () => {
  test('takes an instance out and says what is still in flight', async () => {
    const { it, member } = busy(3);
    expect(await drain.run(it.ctx, ['web/i-1'])).toBe(0);
    expect(it.out).toBe('web/i-1 takes nothing new; 3 still in flight\n');
    expect([...it.gateway.fleet.service('web')!.view.slots]).not.toContain(member.slot);
  });

  test('with --wait returns when nothing is in flight, seen twice', async () => {
    const { it, member } = busy(2);
    const running = drain.run(it.ctx, ['web/i-1', '--wait']);
    await it.until(() => it.asked.length >= 6);
    expect(it.out).toBe('');
    it.gateway.figures.inflight[member.slot] = 0;
    const before = it.asked.length;
    expect([await it.end(running), it.out]).toEqual([0, 'web/i-1 is drained: nothing is in flight\n']);
    expect(it.asked.length - before).toBeGreaterThanOrEqual(2);
    expect(it.clock.pending).toBe(0);
  });

  test('with --wait gives up at its timeout, and the instance stays out', async () => {
    const { it } = busy(2);
    const beganMs = it.clock.now();
    expect(await it.end(drain.run(it.ctx, ['web/i-1', '--wait', '--timeout', '2s']))).toBe(1);
    expect(it.clock.now() - beganMs).toBeLessThan(4000);
    expect(it.err).toBe('fairlead: web/i-1 takes nothing new, but 2 still in flight after 2s\n');
    expect(it.gateway.fleet.find('web', 'i-1')!.health.drained).toBe(true);
  });

  test('with --wait is done when the instance deregisters and its last request ends', async () => {
    const { it, member } = busy(1);
    const running = drain.run(it.ctx, ['web/i-1', '--wait']);
    await it.until(() => it.asked.length >= 2);
    it.gateway.fleet.remove('web', 'i-1');
    it.gateway.fleet.flush();
    await it.until(() => it.asked.length >= 5);
    expect([it.out, it.err]).toEqual(['', '']);
    it.gateway.figures.inflight[member.slot] = 0;
    it.gateway.fleet.released(member);
    it.gateway.fleet.flush();
    const code = await it.end(running);
    expect([code, it.out]).toEqual([0, 'web/i-1 is drained: it has been deregistered, and nothing is in flight\n']);
  });

  test('with --wait notices that someone lets the instance in again', async () => {
    const { it } = busy(1);
    const running = drain.run(it.ctx, ['web/i-1', '--wait']);
    await it.until(() => it.asked.length >= 2);
    it.gateway.fleet.undrain('web', 'i-1');
    const code = await it.end(running);
    expect([code, it.err]).toEqual([1, 'fairlead: web/i-1 was let into rotation again by someone\n']);
  });

  test('with --wait survives a lost answer, and not a gateway that is gone', async () => {
    const { it } = busy(1);
    const running = drain.run(it.ctx, ['web/i-1', '--wait']);
    await it.until(() => it.asked.length >= 2);
    it.answer = () => {
      if (it.asked.length === 4) it.answer = undefined;
      throw new TypeError('fetch failed', { cause: new Error('ECONNRESET') });
    };
    await it.until(() => it.asked.length >= 6);
    expect(it.err).toBe('');
    it.answer = () => {
      throw new TypeError('fetch failed', { cause: new Error('ECONNREFUSED') });
    };
    expect(await it.end(running)).toBe(1);
    expect(it.err).toContain('whether it is idle is not known: cannot reach the admin API');
  });

  test('can be interrupted, which leaves the instance out', async () => {
    const { it } = busy(1);
    const running = drain.run(it.ctx, ['web/i-1', '--wait']);
    await it.until(() => it.asked.length >= 2);
    it.abort.abort();
    expect(await it.end(running)).toBe(1);
    expect(it.err).toContain('web/i-1 stays out of rotation');
  });

  test('of an unknown instance says which may have been meant', async () => {
    const { it } = busy(0);
    expect(await drain.run(it.ctx, ['web/i-3'])).toBe(1);
    expect(it.err).toMatch(/there is no instance "i-3" of web; did you mean i-[12]/);
    expect(await drain.run(it.ctx, ['wbe/i-1'])).toBe(1);
    expect(it.err).toContain('there is no service "wbe"; did you mean web?');
  });

  test('with --json tells a machine', async () => {
    const { it } = busy(0);
    expect(await drain.run(it.ctx, ['web/i-1', '--json'])).toBe(0);
    expect(JSON.parse(it.out)).toEqual({ instance: 'web/i-1', drained: true, inflight: 0 });
  });

  test.each([[], ['web'], ['web/'], ['/i-1'], ['web/i-1/x'], ['web/i-1', '--timeout', 'soon']])(
    'refuses the arguments %j',
    async (...args) => {
      const { it } = busy(0);
      await expect(drain.run(it.ctx, args.flat())).rejects.toThrow(UsageError);
      expect(it.asked).toEqual([]);
    },
  );

  test('keeps odd names within their place in the path', async () => {
    const { it } = busy(0);
    await drain.run(it.ctx, ['a?b/..#c']);
    expect(it.asked).toEqual(['POST http://127.0.0.1:9901/api/services/a%3Fb/instances/..%23c/drain']);
  });
});

describe('undrain', () => {
  test('lets the instance in again', async () => {
    const { it, member } = busy(0);
    await drain.run(it.ctx, ['web/i-1']);
    it.out = '';
    expect(await undrain.run(it.ctx, ['web/i-1'])).toBe(0);
    expect(it.out).toBe('web/i-1 takes traffic again\n');
    expect([...it.gateway.fleet.service('web')!.view.slots]).toContain(member.slot);
  });

  test('says when something else still keeps it out', async () => {
    const { it, member } = busy(0);
    it.gateway.fail(member, 'refused');
    expect(await undrain.run(it.ctx, ['web/i-1'])).toBe(0);
    expect(it.out).toBe('web/i-1 is no longer drained; it takes no traffic, being failing\n');
  });

  test('with --json tells a machine', async () => {
    const { it } = busy(0);
    expect(await undrain.run(it.ctx, ['web/i-1', '--json'])).toBe(0);
    expect(JSON.parse(it.out)).toEqual({ instance: 'web/i-1', drained: false });
  });

  test('of an unknown instance fails', async () => {
    const { it } = busy(0);
    expect(await undrain.run(it.ctx, ['web/nobody'])).toBe(1);
  });
});
