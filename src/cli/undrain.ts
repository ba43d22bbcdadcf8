import { ADMIN_FLAGS, ADMIN_USAGE } from './admin-address.ts';
import { complain, openAdmin, printJson } from './admin-client.ts';
import { parseTarget } from './drain.ts';
import { printable } from './table.ts';
import { parseFlags, type Verb } from './verb.ts';
import type { InstanceReport } from '../admin/reports.ts';

export const undrain: Verb = {
  name: 'undrain',
  usage: `SERVICE/ID ${ADMIN_USAGE}`,
  summary: 'let a drained instance into rotation again',
  async run(ctx, args) {
    const { values, positionals } = parseFlags(args, ADMIN_FLAGS, { positionals: 1 });
    const target = parseTarget(positionals[0]);
    const admin = await openAdmin(ctx, values);
    if (!admin) return 1;
    const answer = await admin.post(`${target.path}/undrain`);
    if (!answer.ok) return complain(ctx, answer.message);
    if (values.json === true) return printJson(ctx, { instance: target.name, drained: false });
    const { traffic, state } = answer.body as InstanceReport;
    const now =
      traffic === 'full' ? 'takes traffic again' : `is no longer drained; it takes no traffic, being ${state}`;
    ctx.stdout.write(`${target.name} ${printable(now)}\n`);
    return 0;
  },
};
