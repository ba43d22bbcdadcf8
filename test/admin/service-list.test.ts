import { describe, expect, test } from 'vitest';
import type { CountedService, OverviewReport, ServiceList } from '../../src/admin/reports.ts';
import type { ThreadCensus } from '../../src/telemetry/metric-sources.ts';
import { POLICY } from '../policy.ts';
import { AdminFixture } from './fixture.ts';

async function list(it: AdminFixture, query: string): Promise<ServiceList> {
  return (await it.json(`/api/services?${query}`)) as unknown as ServiceList;
}

const names = ({ services }: ServiceList): string[] => services.map(({ name }) => name);

/** One of each condition that a fleet comes to by itself. */
function everyCondition(): AdminFixture {
  const it = new AdminFixture();
  for (const id of ['a', 'b']) it.add(`ok-${id}`, { service: 'ok' });
  it.add('partial-a', { service: 'partial' });
  it.add('partial-b', { service: 'partial' });
  it.fleet.drain('partial', it.add('partial-c', { service: 'partial' }).instance.id);
  it.fleet.drain('down', it.add('down-a', { service: 'down' }).instance.id);
  for (const id of ['a', 'b', 'c']) it.fail(it.add(`panic-${id}`, { service: 'panic' }), 'connection refused');
  it.fleet.configure('empty', POLICY);
  it.fleet.configure('fallback', { ...POLICY, fallback: [{ host: '10.9.9.9', port: 80 }] });
  const [reserve] = [...it.fleet.services.get('fallback')!.members.values()];
  it.fleet.setProbe(reserve!, 'passing', 'first probe passed');
  it.fleet.configure('in-reserve', { ...POLICY, fallback: [{ host: '10.9.9.8', port: 80 }] });
  it.add('reserve-a', { service: 'in-reserve' });
  it.fleet.flush();
  return it;
}

describe('the list of services', () => {
  test('says each one’s condition, and has the worst first where that is asked for', async () => {
    const it = everyCondition();
    const { services, matched, total } = await list(it, 'order=condition');
    expect(services.map(({ name, condition }) => [name, condition])).toEqual([
      ['down', 'down'],
      ['panic', 'panic'],
      ['empty', 'empty'],
      ['fallback', 'fallback'],
      ['partial', 'partial'],
      // Its fallback instance is no reason to worry.
      ['in-reserve', 'ok'],
      ['ok', 'ok'],
    ]);
    expect([matched, total]).toEqual([7, 7]);
    const overview = (await it.json('/api/overview')) as unknown as OverviewReport;
    expect(overview.services).toEqual({ down: 1, panic: 1, empty: 1, fallback: 1, partial: 1, ok: 2 });
  });

  test('is cut by condition, by part of the name and into pages', async () => {
    const it = everyCondition();
    expect(names(await list(it, 'condition=down,empty'))).toEqual(['down', 'empty']);
    expect(names(await list(it, 'condition=nonsense'))).toEqual([]);
    expect(names(await list(it, 'q=PA'))).toEqual(['panic', 'partial']);
    const pages = await Promise.all([0, 3, 6, 9].map((offset) => list(it, `limit=3&offset=${offset}`)));
    expect(pages.map(names)).toEqual([['down', 'empty', 'fallback'], ['in-reserve', 'ok', 'panic'], ['partial'], []]);
    expect(pages.map(({ matched }) => matched)).toEqual([7, 7, 7, 7]);
    const worst = await Promise.all([0, 2, 4].map((offset) => list(it, `order=condition&limit=2&offset=${offset}`)));
    expect(worst.flatMap(names)).toEqual(['down', 'panic', 'empty', 'fallback', 'partial', 'in-reserve']);
  });

  test('tells what each has counted, for whoever makes rates of it', async () => {
    const it = new AdminFixture();
    it.add('i-1');
    it.add('a-1', { service: 'api' });
    const meters = it.metrics.service('web');
    meters.request(0, 200, 3, 0.1);
    meters.request(0, 503, 70_000, 0.1);
    meters.retry('reset');
    it.clock.advance(250);
    const { services, nowMs, durationBoundsMs } = await list(it, 'traffic');
    const [api, web] = services;
    // Nobody has counted anything for it yet.
    expect(api?.traffic).toBeUndefined();
    expect(web?.traffic).toMatchObject({ requests: 2, errors: 1, retries: 1, retriesForbidden: 0 });
    const { durations } = web!.traffic!;
    expect(durations.length).toBe(durationBoundsMs.length + 1);
    expect([durations[durationBoundsMs.indexOf(5)], durations.at(-1), nowMs]).toEqual([1, 1, 250]);
    const one = (await it.json('/api/services/web?traffic&limit=0')) as unknown as CountedService;
    expect([one.traffic?.requests, one.instances, one.omitted]).toEqual([2, [], 1]);
  });
});

test('the overview has the gateway at one glance', async () => {
  const it = new AdminFixture({ notReady: () => [{ component: 'gateway', reason: 'starting' }] });
  it.timeline.add({ kind: 'config', to: 'reloaded', cause: 'services.web: balancer' });
  it.timeline.add({ kind: 'probe', service: 'web', instance: 'i-1', to: 'failing', cause: 'test' });
  it.metrics.configReload('failure');
  const threads: ThreadCensus = {
    running: 2,
    wanted: 3,
    shortage: 'this machine permits 2',
    deaths: 1,
    connections: [3, 4],
    heapBytes: [1, 2],
    memoryBytes: [5, 6],
  };
  it.metrics.connect({
    threads: () => threads,
    bounds: () => ({ limits: new Map([['requests', 10]]).set('open_files', Infinity), refused: [] }),
  });
  const overview = await it.json('/api/overview');
  expect(overview).toMatchObject({
    build: { version: '1.2.3' },
    startedWallMs: it.clock.wall(),
    notReady: [{ component: 'gateway', reason: 'starting' }],
    threads,
    // What nothing bounds is left out.
    bounds: { limits: [['requests', 10]], refused: [] },
    reloads: { success: 0, failure: 1 },
    registries: [{ name: 'local' }],
  });
  expect(overview['history']).toMatchObject([{ kind: 'config', to: 'reloaded' }]);
});

test('an explanation is cut into pages and by id or address, and its conclusion is about all', async () => {
  const it = new AdminFixture();
  for (let at = 0; at < 4; at++) it.add(`i-${at}`, { port: 9000 + at });
  it.fail(it.add('bad-1', { port: 9100 }), 'connection refused');
  const ask = async (query: string): Promise<{ ids: string[]; omitted: number; conclusion: string }> => {
    const { instances, omitted, conclusion } = await it.json(`/api/services/web/explain?${query}`);
    return {
      ids: (instances as { id: string }[]).map(({ id }) => id),
      omitted: Number(omitted),
      conclusion: String(conclusion),
    };
  };
  expect((await ask('limit=2')).ids).toEqual(['bad-1', 'i-0']);
  const second = await ask('limit=2&offset=2');
  expect([second.ids, second.omitted]).toEqual([['i-1', 'i-2'], 3]);
  expect(second.conclusion).toContain('bad-1 does not: probe failing');
  expect((await ask('q=:9002')).ids).toEqual(['i-2']);
  expect((await ask('q=bad')).ids).toEqual(['bad-1']);
});
