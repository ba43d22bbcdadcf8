import { execFileSync, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { ManualClock, type Clock } from '../../src/core/clock.ts';
import type { HealthState } from '../../src/core/health.ts';
import type { FleetSource, InstanceSource, ServiceSource } from '../../src/telemetry/fleet-source.ts';
import { Metrics } from '../../src/telemetry/metrics.ts';
import { SERIES } from '../../src/telemetry/series.ts';
import { TrafficMeters } from '../../src/telemetry/traffic.ts';

const WELL: HealthState = { registered: 'up', probe: 'passing', breaker: 'closed', ejected: false, drained: false };

function metrics(part: { clock?: Clock; limit?: number; enabled?: boolean; serviceRows?: number } = {}): Metrics {
  return new Metrics({
    clock: part.clock ?? new ManualClock(),
    version: '1.2.3',
    nodeVersion: 'v24.0.0',
    instanceSeries: { enabled: part.enabled ?? true, limit: part.limit ?? 1000 },
    ...(part.serviceRows === undefined ? {} : { serviceRows: part.serviceRows }),
  });
}

interface Member extends InstanceSource {
  inflight: number;
}

/** A fleet whose members can be changed between scrapes. */
class FakeFleet implements FleetSource {
  readonly figures = { inflight: new Int32Array(64), attempts: new Float64Array(64), breaker: new Uint8Array(64) };
  readonly members = new Map<string, Map<string, Member>>();
  readonly panics = new Set<string>();

  add(service: string, id: string, health: Partial<HealthState> = {}, inflight = 0): void {
    const members = this.members.get(service) ?? new Map<string, Member>();
    this.members.set(service, members);
    const slot = [...this.members.values()].reduce((all, { size }) => all + size, 0);
    members.set(id, { id, slot, health: { ...WELL, ...health }, inflight });
    this.figures.inflight[slot] = inflight;
    this.figures.attempts[slot] = 10 + slot;
    this.figures.breaker[slot] = health.breaker === 'open' ? 1 : 0;
  }

  *services(): Generator<ServiceSource> {
    for (const [name, members] of this.members) {
      yield { name, panic: this.panics.has(name), fallback: this.panics.has(name), instances: () => members.values() };
    }
  }
}

async function scrape(it: Metrics): Promise<string> {
  return Buffer.concat(await it.scrape()).toString();
}

/** Sample lines by series and labels. */
async function samples(it: Metrics): Promise<Map<string, number>> {
  const lines = (await scrape(it)).split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  const found = new Map<string, number>();
  for (const line of lines) {
    const cut = line.lastIndexOf(' ');
    expect(found.has(line.slice(0, cut)), `twice: ${line}`).toBe(false);
    found.set(line.slice(0, cut), Number(line.slice(cut + 1)));
  }
  return found;
}

/** Everything that can be recorded, once. */
function recordEverything(it: Metrics, fleet: FakeFleet): void {
  const web = it.service('web');
  web.request(0, 200, 12, 0.02);
  web.request(2, 503, 0.3, 0.2);
  web.attempt('success');
  web.attempt('connect-failed');
  web.retry('connect-failed');
  web.budgetExhausted();
  for (const by of [1, 1, -1] as const) web.queued(by);
  web.queueRejected('timeout');
  web.outlier('latency', 'observe');
  web.breakerTransition('open');
  web.probe('http', 'fail');
  web.registration();
  web.deregistration('expired');
  it.noService.request(7, 404, 0.1, 0.1);
  it.badRequest('cl-with-te');
  it.probeTook('http', 3);
  it.probeLag(0.5);
  it.loopLag(2);
  it.configReload('failure');
  it.registries.event('local', 'upsert');
  it.registries.propagated('local', 4);
  it.registries.resync('local', 'silence');
  it.registries.drift('local', 2);
  it.registries.leaderChange('local');
  fleet.add('web', 'i-1', {}, 3);
  fleet.add('web', 'i-2', { breaker: 'open' });
  fleet.panics.add('web');
  it.connect({
    fleet,
    registries: () => [
      { name: 'local', up: true, ageMs: 1500 },
      { name: 'consul', up: false, ageMs: undefined },
    ],
    connections: () => ({ downstreamActive: 1, downstreamIdle: 2, upstreamActive: 3, upstreamIdle: 4 }),
    threads: () => ({
      running: 2,
      wanted: 3,
      shortage: undefined,
      deaths: 1,
      connections: [3, 4],
      heapBytes: [5, 6],
      memoryBytes: [7, 8],
    }),
    bounds: () => ({
      limits: [
        ['connections', 12_500],
        ['open_files', Infinity],
      ],
      refused: [['downstream', 'descriptors', 6]],
    }),
    droppedLines: () => [['access', 5]],
  });
}

describe('a scrape', () => {
  test('tells everything that was recorded', async () => {
    const it = metrics();
    recordEverything(it, new FakeFleet());
    const found = await samples(it);
    const expected: readonly (readonly [string, number])[] = [
      ['fairlead_requests_total{service="web",method="GET",code="200"}', 1],
      ['fairlead_requests_total{service="web",method="POST",code="503"}', 1],
      ['fairlead_requests_total{service="(none)",method="other",code="404"}', 1],
      ['fairlead_request_duration_seconds_bucket{service="web",le="0.0005"}', 1],
      ['fairlead_request_duration_seconds_bucket{service="web",le="0.025"}', 2],
      ['fairlead_request_duration_seconds_bucket{service="web",le="+Inf"}', 2],
      ['fairlead_request_duration_seconds_count{service="web"}', 2],
      ['fairlead_request_duration_seconds_sum{service="web"}', 0.0123],
      ['fairlead_request_overhead_seconds_bucket{service="web",le="0.000025"}', 1],
      ['fairlead_attempts_total{service="web",outcome="connect-failed"}', 1],
      ['fairlead_retries_total{service="web",reason="connect-failed"}', 1],
      ['fairlead_retry_budget_exhausted_total{service="web"}', 1],
      ['fairlead_queue_length{service="web"}', 1],
      ['fairlead_queue_rejections_total{service="web",reason="timeout"}', 1],
      ['fairlead_breaker_transitions_total{service="web",to="open"}', 1],
      ['fairlead_outlier_ejections_total{service="web",by="latency",mode="observe"}', 1],
      ['fairlead_probes_total{service="web",type="http",result="fail"}', 1],
      ['fairlead_registrations_total{service="web"}', 1],
      ['fairlead_deregistrations_total{service="web",reason="expired"}', 1],
      ['fairlead_instances{service="web",state="available"}', 1],
      ['fairlead_instances{service="web",state="breaker-open"}', 1],
      ['fairlead_panic{service="web"}', 1],
      ['fairlead_fallback{service="web"}', 1],
      ['fairlead_instance_up{service="web",instance="i-1"}', 1],
      ['fairlead_instance_up{service="web",instance="i-2"}', 0],
      ['fairlead_instance_inflight{service="web",instance="i-1"}', 3],
      ['fairlead_instance_requests_total{service="web",instance="i-2"}', 11],
      ['fairlead_breaker_state{service="web",instance="i-2"}', 1],
      ['fairlead_instance_series_omitted', 0],
      ['fairlead_service_series_omitted', 0],
      ['fairlead_probe_duration_seconds_count{type="http"}', 1],
      ['fairlead_probe_lag_seconds_count', 1],
      ['fairlead_event_loop_lag_seconds_sum', 0.002],
      ['fairlead_registry_up{registry="local"}', 1],
      ['fairlead_registry_up{registry="consul"}', 0],
      ['fairlead_registry_age_seconds{registry="local"}', 1.5],
      ['fairlead_registry_events_total{registry="local",kind="upsert"}', 1],
      ['fairlead_registry_propagation_seconds_count{registry="local"}', 1],
      ['fairlead_registry_resyncs_total{registry="local",reason="silence"}', 1],
      ['fairlead_registry_drift_total{registry="local"}', 2],
      ['fairlead_registry_leader_changes_total{registry="local"}', 1],
      ['fairlead_bad_requests_total{reason="cl-with-te"}', 1],
      ['fairlead_connections{side="downstream",state="idle"}', 2],
      ['fairlead_limit{of="connections"}', 12_500],
      ['fairlead_connections_refused_total{side="downstream",reason="descriptors"}', 6],
      ['fairlead_config_reloads_total{result="failure"}', 1],
      ['fairlead_log_lines_dropped_total{log="access"}', 5],
      ['fairlead_build_info{version="1.2.3",node="v24.0.0"}', 1],
    ];
    expect(Object.fromEntries(expected.map(([name]) => [name, found.get(name)]))).toEqual(Object.fromEntries(expected));
    expect([...found.keys()].some((name) => name.startsWith('fairlead_registry_age_seconds{registry="consul'))).toBe(
      false,
    );
  });

  test('declares every series, and with the labels it says', async () => {
    const it = metrics();
    recordEverything(it, new FakeFleet());
    const text = await scrape(it);
    for (const { name, type, help } of Object.values(SERIES)) {
      expect(text).toContain(`# HELP ${name} ${help}\n# TYPE ${name} ${type}\n`);
    }
    const types = [...text.matchAll(/^# TYPE (fairlead_\S+) /gm)].map((match) => match[1]);
    expect(types.sort()).toEqual(
      Object.values(SERIES)
        .map(({ name }) => name)
        .sort(),
    );
    for (const { name, labels } of Object.values(SERIES)) {
      const sample = new RegExp(`^${name}(?:_sum)?(?:\\{(.*)\\})? \\S+$`, 'm').exec(text);
      expect(sample, name).not.toBeNull();
      expect([...(sample![1] ?? '').matchAll(/(\w+)="/g)].map((match) => match[1])).toEqual(labels);
    }
  });

  test('forgets an instance with the fleet, at once', async () => {
    const it = metrics();
    const fleet = new FakeFleet();
    fleet.add('web', 'i-1');
    fleet.add('web', 'i-2');
    it.connect({ fleet });
    expect(await scrape(it)).toContain('instance="i-2"');
    fleet.members.get('web')!.delete('i-2');
    expect(await scrape(it)).not.toContain('i-2');
    fleet.members.clear();
    expect(await scrape(it)).not.toContain('service="web"');
  });

  test('keeps the counters of a service for some minutes after it has gone', async () => {
    const clock = new ManualClock();
    const it = metrics({ clock });
    it.service('web').request(0, 200, 1, 0);
    it.forgetService('web');
    clock.advance(299_000);
    expect(await scrape(it)).toContain('service="web"');
    clock.advance(2000);
    expect(await scrape(it)).not.toContain('service="web"');
    // The next owner of the row begins at zero.
    it.service('shop').request(0, 200, 1, 0);
    expect((await samples(it)).get('fairlead_requests_total{service="shop",method="GET",code="200"}')).toBe(1);
  });

  test('sums the threads', async () => {
    const it = metrics({ serviceRows: 16 });
    const row = it.serviceRow('web');
    const other = new TrafficMeters({ services: 16 });
    it.addThread(new TrafficMeters({ services: 16, buffer: other.buffer }));
    it.service('web').request(0, 200, 1, 0);
    other.row(row).request(0, 200, 1, 0);
    expect((await samples(it)).get('fairlead_requests_total{service="web",method="GET",code="200"}')).toBe(2);
  });

  test('limits series of instances, and says how many have none', async () => {
    const fleet = new FakeFleet();
    for (let id = 0; id < 7; id++) fleet.add('web', `i-${id}`);
    const some = metrics({ limit: 5 });
    some.connect({ fleet });
    const found = await samples(some);
    expect([...found.keys()].filter((name) => name.startsWith('fairlead_instance_up'))).toHaveLength(5);
    expect(found.get('fairlead_instance_series_omitted')).toBe(2);
    expect(found.get('fairlead_instances{service="web",state="available"}')).toBe(7);
    const none = metrics({ enabled: false });
    none.connect({ fleet });
    expect(await scrape(none)).not.toContain('instance="');
  });

  test('counts services beyond the limit of labels together', async () => {
    const it = metrics({ serviceRows: 4 });
    const fleet = new FakeFleet();
    for (const name of ['a', 'b', 'c', 'd']) {
      fleet.add(name, 'i-1');
      it.service(name).request(0, 200, 1, 0);
    }
    it.connect({ fleet });
    const found = await samples(it);
    expect(found.get('fairlead_requests_total{service="(other)",method="GET",code="200"}')).toBe(2);
    expect(found.get('fairlead_instances{service="(other)",state="available"}')).toBe(2);
    expect(found.get('fairlead_service_series_omitted')).toBe(2);
  });

  test('escapes labels', async () => {
    const it = metrics();
    const fleet = new FakeFleet();
    fleet.add('we"b\\\n', 'i"1');
    it.connect({ fleet });
    expect(await scrape(it)).toContain('fairlead_instance_up{service="we\\"b\\\\\\n",instance="i\\"1"} 1\n');
  });

  test('bounds the reasons of bad requests', async () => {
    const it = metrics();
    for (let reason = 0; reason < 1000; reason++) it.badRequest(`reason ${reason}`);
    const found = [...(await samples(it))].filter(([name]) => name.startsWith('fairlead_bad_requests_total'));
    expect(found.length).toBeLessThanOrEqual(129);
    expect(found.reduce((all, [, count]) => all + count, 0)).toBe(1000);
  });

  test('forgets a registry that is no longer configured', async () => {
    const it = metrics();
    recordEverything(it, new FakeFleet());
    it.registries.forget('local');
    it.connect({ registries: () => [] });
    expect(await scrape(it)).not.toContain('registry="');
  });

  test('is shared by callers that come at the same time', async () => {
    const it = metrics();
    const first = it.scrape();
    expect(it.scrape()).toBe(first);
    await first;
    expect(it.scrape()).not.toBe(first);
  });

  test('survives a fleet that changes while it rests', async () => {
    const fleet = new FakeFleet();
    for (let id = 0; id < 20; id++) fleet.add(`s-${id}`, 'i-1');
    // Every look at the clock uses up a slice: the writer rests before each service.
    const clock = new ManualClock();
    const restless: Clock = {
      now: () => {
        clock.advance(10);
        return clock.now();
      },
      wall: () => clock.wall(),
      after: (delayMs, task) => clock.after(delayMs, task),
    };
    const it = metrics({ clock: restless });
    it.connect({ fleet });
    const under = samples(it);
    for (let id = 0; id < 20; id++) {
      await new Promise((resolve) => setImmediate(resolve));
      fleet.members.delete(`s-${id}`);
      fleet.add(`s-${id}`, 'i-2');
    }
    expect([...(await under).keys()].filter((name) => name.startsWith('fairlead_panic'))).toHaveLength(20);
  });
});

test('process metrics leave out those that walk every handle', async () => {
  const it = new Metrics({
    clock: new ManualClock(),
    version: '1',
    nodeVersion: 'v24',
    instanceSeries: { enabled: true, limit: 10 },
    processMetrics: true,
  });
  const text = await scrape(it);
  expect(text).toContain('process_resident_memory_bytes');
  expect(text).not.toContain('nodejs_active');
});

function promtool(): boolean {
  return spawnSync('promtool', ['--version']).status === 0;
}

// promtool comes with Debian's `prometheus` package; CI has it, and then it has to be asked.
test.runIf(promtool() || process.env.CI)('promtool finds nothing to complain of', async () => {
  const it = new Metrics({
    clock: new ManualClock(),
    version: '1',
    nodeVersion: 'v24',
    instanceSeries: { enabled: true, limit: 10 },
    processMetrics: true,
  });
  const empty = await scrape(it);
  recordEverything(it, new FakeFleet());
  for (const text of [empty, await scrape(it)]) {
    expect(execFileSync('promtool', ['check', 'metrics'], { input: text, encoding: 'utf8' })).toBe('');
  }
});

test('a scrape gives way within a service of very many instances as well', async () => {
  const fleet = new FakeFleet();
  const members = Array.from({ length: 1280 }, (_, id): InstanceSource => ({ id: `i-${id}`, slot: 0, health: WELL }));
  const manual = new ManualClock();
  const clock: Clock = {
    now: () => {
      manual.advance(10);
      return manual.now();
    },
    wall: () => manual.wall(),
    after: (delayMs, task) => manual.after(delayMs, task),
  };
  const it = metrics({ clock, limit: 10_000 });
  it.connect({
    fleet: {
      figures: fleet.figures,
      services: () => [{ name: 'web', panic: false, fallback: false, instances: () => members }],
    },
  });
  let turns = 0;
  let done = false;
  const count = (): void => {
    turns++;
    if (!done) setImmediate(count);
  };
  setImmediate(count);
  await it.scrape();
  done = true;
  expect(turns).toBeGreaterThanOrEqual(10);
});

test('the table of docs/observability.md says what the code declares', () => {
  const text = readFileSync(new URL('../../docs/observability.md', import.meta.url), 'utf8');
  const rows = [...text.matchAll(/^\| `(fairlead_\w+)` \| (\w+) \| ([^|]*) \| (.*) \|$/gm)].map((match) => ({
    name: match[1],
    type: match[2],
    labels: [...(match[3] ?? '').matchAll(/`(\w+)`/g)].map((label) => label[1]),
    help: match[4],
  }));
  expect(rows).toEqual(Object.values(SERIES).map(({ name, type, labels, help }) => ({ name, type, labels, help })));
});
