import { parseFlags, type Verb } from './verb.ts';

export const version: Verb = {
  name: 'version',
  usage: '',
  summary: 'print the version',
  run(ctx, args) {
    parseFlags(args, {}, { positionals: 0 });
    ctx.stdout.write(`fairlead ${ctx.version}\n`);
    return Promise.resolve(0);
  },
};
