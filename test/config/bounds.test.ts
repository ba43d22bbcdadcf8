import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadConfig, loadConfigFile, MAX_CONFIG_BYTES } from '../../src/config/load.ts';
import { mistakes } from './load-text.ts';

describe('a hostile file costs little', () => {
  it.each([
    ['brackets', '['.repeat(100_000)],
    ['braces', '{a: '.repeat(100_000)],
    ['dashes', '- '.repeat(10_000)],
  ])('nested %s are refused before they are walked', (_, text) => {
    expect(mistakes(text)).toEqual([expect.stringContaining('nested deeper than 64 levels')]);
  });

  it('aliases of aliases are refused by what they stand for', () => {
    const lines = ['a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]'];
    for (const [from, to] of ['ab', 'bc', 'cd', 'de', 'ef', 'fg', 'gh', 'hi'].map((pair) => [pair[0], pair[1]])) {
      lines.push(`${to}: &${to} [${Array.from({ length: 10 }, () => `*${from}`).join(', ')}]`);
    }
    expect(mistakes(lines.join('\n')).filter((line) => line.includes('more than 250000 values'))).toHaveLength(1);
  });

  it('an anchor given again stands for the later value from there on', () => {
    const text = 'workers: &n 2\ndefaults: { retry: { attempts: *n } }\nshutdown: { drain: &n 5s, acceptFor: *n }';
    expect(mistakes(text)).toEqual([]);
  });

  it('text beyond the bound is not even parsed', () => {
    expect(mistakes('#'.repeat(MAX_CONFIG_BYTES + 1))).toEqual([`1:1 : is larger than ${MAX_CONFIG_BYTES} bytes`]);
  });

  it('nothing throws, whatever the text', () => {
    const fragment = fc.constantFrom(
      'gateway',
      'services',
      'a',
      ': ',
      ':',
      '\n',
      '  ',
      '- ',
      '[',
      ']',
      '{',
      '}',
      '"',
      "'",
      '${',
      '}',
      '&x ',
      '*x',
      '!!',
      '|',
      '>',
      '#',
      '%',
      '@',
      '\t',
      '?',
      '~',
      '<<',
      'null',
      '1',
      '__proto__',
      'constructor',
    );
    fc.assert(
      fc.property(fc.array(fragment, { maxLength: 40 }), (parts) => {
        const result = loadConfig(parts.join(''), { file: 'f', env: { x: '1' } });
        if (!result.ok)
          for (const issue of result.issues) expect(Math.min(issue.line, issue.column)).toBeGreaterThanOrEqual(1);
      }),
      { numRuns: 500 },
    );
  });
});

describe('a file', () => {
  let directory = '';
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'fairlead-config-'));
  });
  afterAll(() => rm(directory, { recursive: true }));

  const loadBytes = async (bytes: string | Buffer): Promise<string[]> => {
    const path = join(directory, 'config.yaml');
    await writeFile(path, bytes);
    const result = await loadConfigFile(path, { file: 'c.yaml', env: {} });
    return result.ok
      ? []
      : result.issues.map(({ file, line, column, message }) => `${file}:${line}:${column} ${message}`);
  };

  it('is read', async () => {
    expect(await loadBytes('workers: 2')).toEqual([]);
    expect(await loadBytes('\uFEFFworkers: 2')).toEqual([]);
  });

  it('that is too large, no text or not there is a mistake like any other', async () => {
    expect(await loadBytes('#'.repeat(MAX_CONFIG_BYTES + 1))).toEqual([
      `c.yaml:1:1 is larger than ${MAX_CONFIG_BYTES} bytes`,
    ]);
    expect(await loadBytes(Buffer.from([0x61, 0xff]))).toEqual(['c.yaml:1:1 cannot be read: it is not text in UTF-8']);
    for (const [path, message] of [
      [
        join(directory, 'missing'),
        'cannot be read: there is no such file; -c FILE or FAIRLEAD_CONFIG names the one to use',
      ],
      [directory, 'cannot be read: it is a directory, and a file is wanted'],
    ] as const) {
      const result = await loadConfigFile(path, { file: 'c.yaml', env: {} });
      expect(result).toEqual({ ok: false, issues: [{ file: 'c.yaml', line: 1, column: 1, path: '', message }] });
    }
  });

  it('as large as allowed is read whole', async () => {
    expect(await loadBytes(`workers: 2\n${'#'.repeat(MAX_CONFIG_BYTES - 20)}\nx: 1`)).toEqual([
      expect.stringContaining('c.yaml:3:1 unknown key'),
    ]);
  });
});
