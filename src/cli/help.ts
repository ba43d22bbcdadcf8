import { parseFlags, UsageError, type Verb } from './verb.ts';

const INTRODUCTION = `fairlead: one stable URL in front of service instances that never stay put.

usage: fairlead VERB [ARGUMENTS]
`;

const CLOSING = `
fairlead help VERB says what a verb takes. Where a configuration file is read, it is the one of -c FILE, else that of
FAIRLEAD_CONFIG, else ./config/fairlead.yaml.
`;

export type VerbTable = ReadonlyMap<string, () => Promise<Verb>>;

/** `help`, which knows the other verbs. */
export function createHelp(verbs: VerbTable): Verb {
  return {
    name: 'help',
    usage: '[VERB]',
    summary: 'print this, or what a verb takes',
    async run(ctx, args) {
      const { positionals } = parseFlags(args, {}, { positionals: 1 });
      const [name] = positionals;
      if (name === undefined) {
        ctx.stdout.write(overview(await Promise.all([...verbs.values()].map((load) => load()))));
        return 0;
      }
      const load = verbs.get(name);
      if (!load) throw new UsageError(`there is no verb '${name}'`);
      ctx.stdout.write(describeVerb(await load()));
      return 0;
    },
  };
}

/** Two lines: how the verb is called, and what it does. */
export function describeVerb(verb: Verb): string {
  return `usage: ${callOf(verb)}\n${capitalized(verb.summary)}.\n`;
}

export function callOf(verb: Verb): string {
  return `fairlead ${verb.name}${verb.usage === '' ? '' : ` ${verb.usage}`}`;
}

function overview(verbs: readonly Verb[]): string {
  const width = Math.max(...verbs.map((verb) => verb.name.length)) + 2;
  const lines = verbs.map((verb) => `  ${verb.name.padEnd(width)}${verb.summary}\n`);
  return `${INTRODUCTION}\n${lines.join('')}${CLOSING}`;
}

function capitalized(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
