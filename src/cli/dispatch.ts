import { closest } from '../config/closest.ts';
import { callOf, createHelp, describeVerb, type VerbTable } from './help.ts';
import { UsageError, type CliContext, type Verb } from './verb.ts';
import { VERBS } from './verbs.ts';

const ALIASES: ReadonlyMap<string, string> = new Map([
  ['-h', 'help'],
  ['--help', 'help'],
  ['-v', 'version'],
  ['-V', 'version'],
  ['--version', 'version'],
]);

const TABLE: VerbTable = new Map([...VERBS, ['help', () => Promise.resolve(createHelp(TABLE))]]);

/** Runs the command line; resolves to the exit code. Rejects for a bug only. */
export async function dispatch(ctx: CliContext, argv: readonly string[]): Promise<number> {
  const [word, ...args] = argv;
  if (word === undefined) {
    ctx.stderr.write('fairlead: what to do? `fairlead help` lists the verbs; `fairlead run` starts the gateway\n');
    return 1;
  }
  const name = ALIASES.get(word) ?? word;
  const load = TABLE.get(name);
  if (!load) {
    ctx.stderr.write(`fairlead: ${unknown(word)}; \`fairlead help\` lists what there is\n`);
    return 1;
  }
  if (args.includes('--help') || args.includes('-h')) {
    ctx.stdout.write(describeVerb(await load()));
    return 0;
  }
  return runVerb(await load(), ctx, args);
}

async function runVerb(verb: Verb, ctx: CliContext, args: readonly string[]): Promise<number> {
  try {
    return await verb.run(ctx, args);
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    ctx.stderr.write(`fairlead ${verb.name}: ${error.message}\nusage: ${callOf(verb)}\n`);
    return 1;
  }
}

function unknown(word: string): string {
  const close = closest(word, [...TABLE.keys()]);
  const what = word.startsWith('-') ? 'unknown flag' : 'unknown verb';
  const hint = close === undefined ? '' : ` (did you mean ${close}?)`;
  return `${what} ${JSON.stringify(word.slice(0, 80))}${hint}`;
}
