import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { grafanaDashboard } from '../../scripts/grafana-dashboard.ts';
import { ManualClock } from '../../src/core/clock.ts';
import type { HealthState } from '../../src/core/health.ts';
import { OUTCOMES } from '../../src/core/outcome.ts';
import {
  BREAKER_STATES,
  DEREGISTRATION_REASONS,
  OUTLIER_KINDS,
  OUTLIER_RESULTS,
  PROBE_RESULTS,
  PROBE_TYPES,
  QUEUE_REJECTIONS,
  REGISTRY_EVENT_KINDS,
  RESYNC_REASONS,
  RETRY_REASONS,
} from '../../src/telemetry/closed-sets.ts';
import { Metrics } from '../../src/telemetry/metrics.ts';

/*
 * What Grafana's dashboard and the alert rules ask for, held against what a gateway that has counted everything there is
 * to count says at /metrics.
 */

const ROOT = new URL('../../', import.meta.url);
const text = (file: string): string => readFileSync(new URL(file, ROOT), 'utf8');

interface Rule {
  readonly alert: string;
  readonly expr: string;
  readonly labels: { readonly severity: string };
  readonly annotations: Readonly<Record<'summary' | 'description' | 'runbook', string>>;
}

const { groups } = parse(text('config/alerts/fairlead.yaml')) as { groups: { rules: Rule[] }[] };
const rules = groups.flatMap((group) => group.rules);

const board = JSON.parse(text('config/grafana/fairlead.json')) as {
  panels: { title: string; type: string; targets?: { expr: string; legendFormat: string }[] }[];
  templating: { list: { name: string; definition?: string }[] };
};
const panels = board.panels.filter(({ type }) => type !== 'row');

/** Prometheus adds these, as in config/prometheus/scrape.yaml. */
const OF_TARGETS = new Set(['job', 'instance', 'gateway']);

/** Values by label, by series: of every sample. */
const exposed = new Map<string, Map<string, Set<string>>>();

async function scrapeEverything(): Promise<string> {
  const clock = new ManualClock();
  const metrics = new Metrics({
    clock,
    version: '1.2.3',
    nodeVersion: 'v24.0.0',
    instanceSeries: { enabled: true, limit: 10 },
    serviceRows: 8,
    processMetrics: true,
  });
  const service = metrics.service('web');
  for (const status of [200, 404, 503]) service.request(0, status, 1, 0.1);
  for (const outcome of OUTCOMES) service.attempt(outcome);
  for (const reason of RETRY_REASONS) service.retry(reason);
  service.budgetExhausted();
  service.queued(1);
  for (const why of QUEUE_REJECTIONS) service.queueRejected(why);
  for (const state of BREAKER_STATES) service.breakerTransition(state);
  for (const by of OUTLIER_KINDS) for (const result of OUTLIER_RESULTS) service.outlier(by, result);
  for (const type of PROBE_TYPES) {
    for (const result of PROBE_RESULTS) service.probe(type, result);
    metrics.probeTook(type, 1);
  }
  service.registration();
  for (const reason of DEREGISTRATION_REASONS) service.deregistration(reason);
  metrics.badRequest('target');
  metrics.probeLag(1);
  metrics.loopLag(1);
  for (const kind of REGISTRY_EVENT_KINDS) metrics.registries.event('local', kind);
  for (const reason of RESYNC_REASONS) metrics.registries.resync('local', reason);
  metrics.registries.propagated('local', 1);
  metrics.registries.drift('local', 1);
  metrics.registries.leaderChange('local');
  const well: HealthState = { registered: 'up', probe: 'passing', breaker: 'closed', ejected: false, drained: false };
  const members = [well, { ...well, registered: 'degraded' } as const].map((health, slot) => ({
    id: `i-${slot}`,
    slot,
    health,
  }));
  metrics.connect({
    fleet: {
      figures: { inflight: [0, 0], attempts: [1, 1], breaker: [0, 0] },
      services: () => [{ name: 'web', panic: false, fallback: false, instances: () => members }],
    },
    registries: () => [{ name: 'local', up: true, ageMs: 1 }],
    connections: () => ({ downstreamActive: 1, downstreamIdle: 1, upstreamActive: 1, upstreamIdle: 1 }),
    bounds: () => ({
      limits: ['connections', 'requests', 'instances', 'services', 'open_files', 'thread_memory_bytes'].map((of) => [
        of,
        1,
      ]),
      refused: [['downstream', 'limit', 1]],
    }),
    threads: () => ({
      running: 1,
      wanted: 1,
      shortage: undefined,
      deaths: 0,
      connections: [1],
      heapBytes: [1],
      memoryBytes: [1],
    }),
    droppedLines: () => [['access', 1]],
  });
  return Buffer.concat(await metrics.scrape()).toString();
}

beforeAll(async () => {
  for (const line of (await scrapeEverything()).split('\n')) {
    const [, name, labels] = /^([a-z_]+)(?:\{(.*)\})? \S+$/.exec(line) ?? [];
    if (name === undefined) continue;
    const found = exposed.get(name) ?? new Map<string, Set<string>>();
    exposed.set(name, found);
    for (const [, label = '', value = ''] of (labels ?? '').matchAll(/(\w+)="([^"]*)"/g)) {
      found.set(label, (found.get(label) ?? new Set()).add(value));
    }
  }
});

/** Everything that would find nothing. */
function mistakesIn(expr: string): string[] {
  const mistakes: string[] = [];
  const labels = new Set(OF_TARGETS);
  const selectors = [...expr.matchAll(/\b((?:fairlead|process|nodejs)_\w+)(?:\{([^}]*)\})?/g)];
  if (selectors.length === 0 && !/\bup\{/.test(expr)) mistakes.push('asks for no series');
  for (const [, name = '', inside = ''] of selectors) {
    const values = exposed.get(name);
    if (!values) {
      mistakes.push(`there is no ${name}`);
      continue;
    }
    for (const label of values.keys()) labels.add(label);
    for (const [, label = '', operator, value = ''] of inside.matchAll(/(\w+)\s*(=~|!=|!~|=)\s*"([^"]*)"/g)) {
      if (!values.has(label) && !OF_TARGETS.has(label)) mistakes.push(`${name} has no label ${label}`);
      if (value.includes('$') || OF_TARGETS.has(label)) continue;
      const pattern = operator === '=~' || operator === '!~' ? new RegExp(`^(?:${value})$`) : undefined;
      const known = [...(values.get(label) ?? [])];
      if (!known.some((each) => (pattern ? pattern.test(each) : each === value))) {
        mistakes.push(`${name} has no ${label} like ${value}`);
      }
    }
  }
  for (const [, list = ''] of expr.matchAll(/\b(?:by|on|without)\s*\(([^)]*)\)/g)) {
    for (const label of list.split(',').map((part) => part.trim())) {
      if (!labels.has(label)) mistakes.push(`nothing here has a label ${label}`);
    }
  }
  return mistakes;
}

test('what finds mistakes does find them', () => {
  expect(mistakesIn('rate(fairlead_request_total[5m])')).toEqual(['there is no fairlead_request_total']);
  expect(mistakesIn('sum by (host) (fairlead_panic)')).toEqual(['nothing here has a label host']);
  expect(mistakesIn('fairlead_panic{host="a"}')).toEqual([
    'fairlead_panic has no label host',
    'fairlead_panic has no host like a',
  ]);
  expect(mistakesIn('fairlead_instances{state=~"good|fine"}')).toEqual([
    'fairlead_instances has no state like good|fine',
  ]);
  expect(mistakesIn('1 > 0')).toEqual(['asks for no series']);
});

describe('the alert rules', () => {
  test.each(rules)(
    '$alert asks for what there is, and sends to a page that there is',
    ({ expr, annotations, labels }) => {
      expect(mistakesIn(expr)).toEqual([]);
      expect(['page', 'warn']).toContain(labels.severity);
      const [file = '', anchor] = annotations.runbook.split('#');
      expect(existsSync(new URL(file, ROOT)), file).toBe(true);
      const anchors = [...text(file).matchAll(/^#+ (.*)$/gm)].map(([, title = '']) =>
        title
          .toLowerCase()
          .replaceAll(/[^\w\s-]/g, '')
          .replaceAll(' ', '-'),
      );
      if (anchor !== undefined) expect(anchors).toContain(anchor);
      for (const words of [annotations.summary, annotations.description]) expect(words.length).toBeGreaterThan(20);
    },
  );

  test('have names of their own', () => {
    expect(new Set(rules.map(({ alert }) => alert)).size).toBe(rules.length);
  });

  const promtool = spawnSync('promtool', ['--version']).status === 0;
  test.skipIf(!promtool).each([
    ['check', 'rules', 'config/alerts/fairlead.yaml'],
    ['test', 'rules', 'test/config/alerts.promtool.yaml'],
    ['check', 'config', 'config/prometheus/scrape.yaml'],
  ])('please promtool %s %s %s', (...args) => {
    const { status, stdout, stderr } = spawnSync('promtool', args, { cwd: ROOT, encoding: 'utf8' });
    expect(status, `${stdout}${stderr}`).toBe(0);
  });
});

describe("Grafana's dashboard", () => {
  test('is what the scripts make', () => {
    expect(JSON.parse(text('config/grafana/fairlead.json'))).toEqual(grafanaDashboard());
  });

  test.each(panels)(
    '$title asks for what there is, and names its lines by labels that are left',
    ({ targets = [] }) => {
      expect(targets.length).toBeGreaterThan(0);
      for (const { expr, legendFormat } of targets) {
        expect(mistakesIn(expr)).toEqual([]);
        const [, left] = /\b(?:by) \(([^)]*)\)/.exec(expr) ?? [];
        const kept = left?.split(/,\s*/) ?? ['gateway'];
        for (const [, label = ''] of legendFormat.matchAll(/\{\{(\w+)\}\}/g))
          expect(kept, legendFormat).toContain(label);
      }
    },
  );

  test('shows every series that the gateway has', () => {
    const asked = panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr)).join('\n');
    const missing = [...exposed.keys()].filter((name) => name.startsWith('fairlead_') && !/_(sum|count)$/.test(name));
    expect(missing.filter((name) => !asked.includes(name))).toEqual([]);
  });

  test('its variables are made of labels that there are', () => {
    for (const { definition } of board.templating.list) {
      if (definition === undefined) continue;
      const [, series = '', label = ''] = /^label_values\((.*), (\w+)\)$/.exec(definition) ?? [];
      expect(mistakesIn(`sum by (${label}) (${series})`)).toEqual([]);
    }
  });

  const promtool = spawnSync('promtool', ['--version']).status === 0;
  test.skipIf(!promtool)('asks in PromQL that Prometheus reads', () => {
    const exprs = panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr));
    const record = exprs.map((expr, at) => ({
      record: `panel_${at}`,
      expr: expr.replaceAll('$__rate_interval', '1m'),
    }));
    const folder = mkdtempSync(join(tmpdir(), 'fairlead-panels-'));
    const file = join(folder, 'panels.json');
    writeFileSync(file, JSON.stringify({ groups: [{ name: 'panels', rules: record }] }));
    const { status, stderr } = spawnSync('promtool', ['check', 'rules', file], { encoding: 'utf8' });
    rmSync(folder, { recursive: true });
    expect(status, stderr).toBe(0);
  });
});
