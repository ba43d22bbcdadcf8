import { describe, expect, it } from 'vitest';
import { parseOptions, type BenchOptions } from '../../bench/options.ts';
import { allPeers } from '../../bench/peers/index.ts';
import { allScenarios } from '../../bench/scenarios/index.ts';

function parse(...argv: string[]): BenchOptions {
  const options = parseOptions(argv, '/results');
  if (options === 'help') throw new Error('it took that for a call for help');
  return options;
}

describe('the options of a bench run', () => {
  it('are five rounds of 5 s of everything without any', () => {
    const { scenarios, peers, settings, raised, out } = parse();
    expect(scenarios).toEqual(allScenarios);
    expect(peers).toEqual(allPeers);
    expect(settings).toMatchObject({ rounds: 5, durationMs: 5000, connections: 64 });
    expect(settings.ratePerS).toBeUndefined();
    expect(raised).toBe(false);
    expect(out).toBe('/results');
  });

  it('choose scenarios and peers, each once and in the order of their lists', () => {
    const { scenarios, peers } = parse('s10', 's1', 's10', '--only', 'haproxy,fairlead');
    expect(scenarios.map(({ name }) => name)).toEqual(['s1', 's10']);
    expect(peers.map(({ name }) => name)).toEqual(['fairlead', 'haproxy']);
  });

  it('set what a turn is', () => {
    const options = [
      '--rounds',
      '7',
      '--duration',
      '1500ms',
      '--connections',
      '8',
      '--rate',
      '99',
      '--instances',
      '50',
    ];
    expect(parse(...options).settings).toEqual({
      rounds: 7,
      durationMs: 1500,
      connections: 8,
      ratePerS: 99,
      instances: 50,
    });
  });

  it('ask for help', () => {
    expect(parseOptions(['-h'], '')).toBe('help');
    expect(parseOptions(['s1', '--help'], '')).toBe('help');
  });

  it.each([
    [['s99'], 'no scenario is called s99'],
    [['--only', 'apache'], 'no peer is called apache'],
    [['--rounds', '0'], '--rounds: a whole number from 1 to 100'],
    [['--rounds', '101'], '--rounds'],
    [['--rounds', '2.5'], '--rounds'],
    [['--connections', 'many'], '--connections'],
    [['--duration', '999ms'], '--duration: a time of at least 1s'],
    [['--duration', '5'], '--duration'],
    [['--rate', '-1'], '--rate'],
    [['--unknown'], '--unknown'],
  ])('%j are refused with a word on what to write', (argv, message) => {
    expect(() => parse(...argv)).toThrow(message);
  });
});

describe('the scenarios', () => {
  it('have names and columns that are their only ones, and goals about columns that they have', () => {
    const names = allScenarios.map(({ name }) => name);
    expect(new Set(names).size).toBe(names.length);
    for (const { name, columns, goals } of allScenarios) {
      const keys = columns.map(({ key }) => key);
      expect(new Set(keys).size, name).toBe(keys.length);
      for (const { column } of goals) expect(keys, name).toContain(column);
    }
  });

  it('have goals about cases and peers that there are', () => {
    const peers = allPeers.map(({ name }) => name);
    for (const { name, without, goals } of allScenarios) {
      for (const left of without) expect(peers, name).toContain(left);
      for (const { against } of goals) {
        if (against !== undefined)
          expect(
            peers.filter((each) => !without.includes(each)),
            name,
          ).toContain(against);
      }
    }
  });
});
