import { describe, expect, test } from 'vitest';
import { explain } from '../../src/cli/explain.ts';
import { UsageError } from '../../src/cli/verb.ts';
import { CliFixture } from './admin-fixture.ts';

describe('explain', () => {
  test('says it in one line, then gate by gate with evidence', async () => {
    const it = new CliFixture();
    it.gateway.add('i-1');
    it.gateway.add('i-2');
    it.gateway.fail(it.gateway.add('i-3'), 'connection refused');
    it.clock.advance(12_000);
    expect(await explain.run(it.ctx, ['web', '--instance', 'i-3'])).toBe(0);
    expect(it.out).toBe(`web/i-3 does not take traffic: probe failing, connection refused, since 12 s

i-3  10.0.0.1:8002  NO TRAFFIC
  ok     registered  up (for 12 s)
                     local: up, since 2 h
  ok     drain       not drained (for 12 s)
  ok     ejection    not ejected (for 12 s)
  ok     breaker     closed, no request yet (for 12 s)
  STOP   probe       failing, connection refused (for 12 s)
                     tcp: failing, connection refused, 12 s ago, took 1 ms; 3 failures in a row (out at 3); next in 1 s
  STOP   balancer    does not see it
                     0 in flight
                     0 attempts, 0 failed
  12 s ago    probe: unknown -> passing: first probe passed
  12 s ago    probe: passing -> failing: tcp: connection refused (3 in a row)
`);
    it.out = '';
    expect(await explain.run(it.ctx, ['web'])).toBe(0);
    const lines = it.out.split('\n');
    expect(lines[0]).toBe(
      'web: 2 of 3 instances take traffic; i-3 does not: probe failing, connection refused, since 12 s',
    );
    expect(lines.filter((line) => line.endsWith('takes traffic'))).toHaveLength(2);
    expect(it.out).toContain('ok     balancer    p2c: 50 % of the traffic by weight');
  });

  test('takes a URL, and says whom it leads to', async () => {
    const it = new CliFixture();
    it.gateway.add('i-1');
    expect(await explain.run(it.ctx, ['http://web.localhost:8080/path?x=1#y'])).toBe(0);
    expect(it.out).toMatch(/^web\.localhost is served by web\nweb: 1 of 1 instance takes traffic\n/);
  });

  test('of a host nobody answers at tells what requests get', async () => {
    const it = new CliFixture();
    it.gateway.add('p-1', { service: 'payment' });
    expect(await explain.run(it.ctx, ['http://paymnt.example/'])).toBe(1);
    expect(it.err).toBe(
      'fairlead: no service is called paymnt.example or answers at this host: requests for it get 404 (NR); did you mean payment?\n',
    );
  });

  test('of an unknown instance says which may have been meant', async () => {
    const it = new CliFixture();
    it.gateway.add('i-1');
    expect(await explain.run(it.ctx, ['web', '--instance', 'i-9'])).toBe(1);
    expect(it.err).toContain('there is no instance "i-9" of web; did you mean i-1?');
  });

  test('with --json prints the whole report', async () => {
    const it = new CliFixture();
    it.gateway.add('i-1');
    expect(await explain.run(it.ctx, ['web', '--json'])).toBe(0);
    expect(JSON.parse(it.out)).toMatchObject({
      service: 'web',
      instances: [{ id: 'i-1', gates: [{ gate: 'registered' }, {}, {}, {}, {}, {}] }],
    });
  });

  test('shows a hundred and says how many more there are', async () => {
    const it = new CliFixture();
    for (let id = 0; id < 120; id++) it.gateway.add(`i-${id}`);
    expect(await explain.run(it.ctx, ['web'])).toBe(0);
    expect(it.out.trimEnd().endsWith('and 20 more; --instance ID shows any of them')).toBe(true);
  });

  test('wants to know what to explain', async () => {
    await expect(explain.run(new CliFixture().ctx, [])).rejects.toThrow(UsageError);
  });
});
