import { describe, expect, it } from 'vitest';
import { dispatch } from '../../src/cli/dispatch.ts';
import { parseFlags, UsageError } from '../../src/cli/verb.ts';
import { VERBS } from '../../src/cli/verbs.ts';
import { ran } from './command-line.ts';

const fairlead = (...argv: string[]) => ran((ctx) => dispatch(ctx, argv));

describe('the command line', () => {
  it('without a verb says where to look', async () => {
    expect(await fairlead()).toMatchObject({
      code: 1,
      stdout: '',
      stderr: expect.stringContaining('fairlead help') as string,
    });
  });

  it.each([
    [['chek'], 'fairlead: unknown verb "chek" (did you mean check?); `fairlead help` lists what there is\n'],
    [['--nonsense'], 'fairlead: unknown flag "--nonsense"; `fairlead help` lists what there is\n'],
    [['check', '--file', 'x'], "fairlead check: Unknown option '--file'\nusage: fairlead check [-c FILE]\n"],
    [
      ['check', '-c'],
      "fairlead check: Option '-c, --config <value>' argument missing\nusage: fairlead check [-c FILE]\n",
    ],
    [['check', 'x'], "fairlead check: unexpected argument 'x'\nusage: fairlead check [-c FILE]\n"],
    [['help', 'x'], "fairlead help: there is no verb 'x'\nusage: fairlead help [VERB]\n"],
    [['constructor'], 'fairlead: unknown verb "constructor"; `fairlead help` lists what there is\n'],
  ])('%j is refused', async (argv, stderr) => {
    expect(await fairlead(...argv)).toEqual({ code: 1, stdout: '', stderr });
  });

  it.each([['version'], ['--version'], ['-V'], ['-v']])('%s prints the version', async (word) => {
    expect(await fairlead(word)).toEqual({ code: 0, stdout: 'fairlead 1.2.3\n', stderr: '' });
  });

  it.each([['help'], ['--help'], ['-h']])('%s lists every verb', async (word) => {
    const { code, stdout } = await fairlead(word);
    expect(code).toBe(0);
    for (const verb of [...VERBS.keys(), 'help']) expect(stdout).toMatch(new RegExp(`^ {2}${verb} +\\S`, 'm'));
  });

  it.each([
    ['help', 'check'],
    ['check', '--help'],
    ['check', '-c', 'x', '-h'],
  ])('%s %s says what a verb takes', async (...argv) => {
    const { code, stdout } = await fairlead(...argv);
    expect(code).toBe(0);
    expect(stdout).toMatch(/^usage: fairlead check \[-c FILE\]\nValidate the configuration/);
  });
});

describe('the table of verbs', () => {
  it.each([...VERBS])('%s loads the verb of that name', async (name, load) => {
    expect((await load()).name).toBe(name);
  });
});

describe('flags', () => {
  const FLAGS = { config: { type: 'string', short: 'c' }, json: { type: 'boolean' } } as const;

  it('are read with their values, among positional arguments', () => {
    const { values, positionals } = parseFlags(['a', '-c', 'f', '--json', 'b'], FLAGS, { positionals: 2 });
    expect(values).toEqual({ config: 'f', json: true });
    expect(positionals).toEqual(['a', 'b']);
  });

  it.each([[['-x']], [['--json=yes']], [['-c']], [['a', 'b', 'c']]])('%j is a usage error', (args) => {
    expect(() => parseFlags(args, FLAGS, { positionals: 2 })).toThrow(UsageError);
  });
});
