import { describe, expect, it } from 'vitest';
import { whyLocal } from '../../bench/report/files.ts';
import { judge, spreadOf, summarise, type PeerResult, type ScenarioResult } from '../../bench/report/result.ts';
import { renderTable } from '../../bench/report/table.ts';
import { renderChart } from '../../bench/report/chart.ts';
import type { Column } from '../../bench/scenarios/scenario.ts';

const cpu: Column = { key: 'cpu', header: 'CPU', unit: 'µs', decimals: 1 };
const lost: Column = { key: 'lost', header: 'lost', unit: '%', decimals: 1, medianOnly: true };

const peer = (...samples: number[]): PeerResult =>
  summarise(
    [cpu],
    samples.map((value) => ({ cpu: value })),
  );

function resultWith(change: Partial<ScenarioResult> = {}): ScenarioResult {
  const peers = { fairlead: peer(10, 11, 9, 10, 12), haproxy: peer(10, 10, 10, 10, 10) };
  return {
    scenario: 's0',
    title: 'GET <1 KiB> & more',
    command: 'npm run bench -- s0',
    date: '2026-01-02T03:04:05.000Z',
    checkout: { commit: '0123456789ab', dirty: false },
    node: '24.0.0',
    machine: { cpu: 'a CPU', cores: 2, memoryGiB: 8, kernel: '6.0', loadBefore: 0.1 },
    cores: 'not pinned',
    generator: 'wrk',
    settings: { rounds: 5, durationMs: 5000, connections: 64, ratePerS: undefined },
    versions: {},
    columns: [cpu, lost],
    cases: [
      {
        name: '1 KiB',
        payloadBytes: 1024,
        connections: 64,
        peers,
        goals: judge([{ column: 'cpu', against: 'haproxy', atMost: 1 }], '1 KiB', peers),
      },
    ],
    ...change,
  };
}

describe('a spread over rounds', () => {
  it.each([
    [[3], 3, 3, 3],
    [[3, 1], 2, 1, 3],
    [[9, 1, 5], 5, 1, 9],
    [[10, 2, 100, 9], 9.5, 2, 100],
    [[-1, -10, 5], -1, -10, 5],
  ])('of %j has the median %d, from %d to %d', (samples, median, min, max) => {
    expect(spreadOf(samples)).toEqual({ median, min, max, samples });
  });

  it('keeps the samples in the order of the rounds', () => {
    const samples = [3, 1, 2];
    expect(spreadOf(samples).samples).toEqual([3, 1, 2]);
    expect(samples).toEqual([3, 1, 2]);
  });

  it('has no median without samples', () => {
    expect(spreadOf([]).median).toBeNaN();
  });

  it('is made of the rounds that have the figure, and left out where none has', () => {
    expect(summarise([cpu, lost], [{ cpu: 1 }, {}, { cpu: 3 }])).toEqual({ cpu: spreadOf([1, 3]) });
  });
});

describe('a goal', () => {
  it.each([
    ['is met at its bound', 10, true],
    ['is met below it', 9, true],
    ['is missed above it', 11, false],
  ])('in the unit of its column %s', (_, value, met) => {
    expect(judge([{ column: 'cpu', atMost: 10 }], 'any', { fairlead: peer(value) })).toEqual([
      { column: 'cpu', atMost: 10, caseName: 'any', value, met },
    ]);
  });

  it('against a peer is the ratio of the medians', () => {
    const peers = { fairlead: peer(5, 100, 6), haproxy: peer(12, 1, 100) };
    const [goal] = judge([{ column: 'cpu', against: 'haproxy', atMost: 0.5 }], 'any', peers);
    expect(goal).toMatchObject({ value: 0.5, met: true });
  });

  it('is neither met nor missed where a peer it needs did not take part', () => {
    const [goal] = judge([{ column: 'cpu', against: 'caddy', atMost: 1 }], 'any', { fairlead: peer(1) });
    expect(goal?.met).toBeUndefined();
    const [own] = judge([{ column: 'cpu', atMost: 1 }], 'any', { haproxy: peer(1) });
    expect(own?.met).toBeUndefined();
  });

  it('of one case is not asked of another', () => {
    const goals = [{ column: 'cpu', caseName: 'large', atMost: 1 }];
    expect(judge(goals, 'small', { fairlead: peer(2) })).toEqual([]);
    expect(judge(goals, 'large', { fairlead: peer(2) })).toHaveLength(1);
  });
});

describe('a result is fit to be published', () => {
  const settings = resultWith().settings;
  const machine = resultWith().machine;

  it('after five rounds of 5 s of every peer, from committed sources, on a quiet machine', () => {
    expect(whyLocal(resultWith(), true)).toBeUndefined();
  });

  it.each([
    ['fewer rounds', resultWith({ settings: { ...settings, rounds: 4 } }), true, 'rounds'],
    ['shorter turns', resultWith({ settings: { ...settings, durationMs: 4999 } }), true, 'shorter'],
    ['a peer that is missing', resultWith(), false, 'every peer'],
    ['sources that differ', resultWith({ checkout: { commit: 'a', dirty: true } }), true, 'differ'],
    ['other work', resultWith({ machine: { ...machine, loadBefore: 0.8 } }), true, 'other work'],
    ['a doubt', resultWith({ cases: resultWith().cases.map((each) => ({ ...each, doubt: 'late' })) }), true, 'late'],
  ])('but not with %s', (_, result, everyPeer, reason) => {
    expect(whyLocal(result, everyPeer)).toContain(reason);
  });
});

describe('what is shown of a result', () => {
  it('is medians with least and greatest, the ratio to HAProxy, and the goals', () => {
    const table = renderTable(resultWith());
    expect(table).toContain('10.0 (9.0–12.0)');
    expect(table).toMatch(/^fairlead .* 1\.00$/m);
    expect(table).toContain('goal: CPU ≤ 1 × haproxy: 1.00, met');
  });

  it('says where the figures are not to be believed', () => {
    const cases = resultWith().cases.map((each) => ({ ...each, doubt: 'the generator was late' }));
    expect(renderTable(resultWith({ cases }))).toContain('not to be believed: the generator was late');
  });

  it('is drawn without breaking out of the markup', () => {
    const chart = renderChart(resultWith());
    expect(chart).toContain('GET &lt;1 KiB&gt; &amp; more');
    expect(chart).not.toContain('<1 KiB>');
    expect(chart).not.toContain('NaN');
  });
});
