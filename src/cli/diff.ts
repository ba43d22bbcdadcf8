import type { Difference, RegistryDiff } from '../admin/registry-diff.ts';
import { ADMIN_FLAGS, ADMIN_USAGE } from './admin-address.ts';
import { complain, openAdmin, printJson } from './admin-client.ts';
import { printable, table } from './table.ts';
import { parseFlags, UsageError, type Verb } from './verb.ts';

/** For moving from one registry to another with both running: nothing may be missing before the old one goes. */
export const diff: Verb = {
  name: 'diff',
  usage: `REGISTRY REGISTRY ${ADMIN_USAGE}`,
  summary: 'what one registry of a running gateway has and another lacks; exit 1 on a difference',
  async run(ctx, args) {
    const { values, positionals } = parseFlags(args, ADMIN_FLAGS, { positionals: 2 });
    const [first, second] = positionals;
    if (first === undefined || second === undefined) throw new UsageError('two names of registries are needed');
    const admin = await openAdmin(ctx, values);
    if (!admin) return 1;
    const answer = await admin.get(`/api/registries/${encodeURIComponent(first)}/diff/${encodeURIComponent(second)}`);
    if (!answer.ok) return complain(ctx, answer.message);
    const found = answer.body as RegistryDiff;
    if (values.json === true) printJson(ctx, found);
    else ctx.stdout.write(text(found));
    return found.differences.length === 0 ? 0 : 1;
  },
};

function text({ first, second, same, differences }: RegistryDiff): string {
  const count = `${same} ${same === 1 ? 'instance is' : 'instances are'} the same in ${first} and ${second}`;
  if (differences.length === 0) return printable(`${count}; there is no difference`) + '\n';
  const rows = differences.map((each) => [each.service, each.address, words(each, first, second)]);
  const columns = [{ title: 'SERVICE' }, { title: 'ADDRESS' }, { title: 'DIFFERENCE' }];
  return `${table(columns, rows)}\n${printable(`${count}; ${differences.length} differ`)}\n`;
}

function words({ kind, fields }: Difference, first: string, second: string): string {
  if (kind === 'only-first') return `only in ${first}`;
  if (kind === 'only-second') return `only in ${second}`;
  return fields.map((field) => `${field.name}: ${field.first} in ${first}, ${field.second} in ${second}`).join('; ');
}
