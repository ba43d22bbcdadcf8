import { ADMIN_FLAGS, ADMIN_USAGE } from './admin-address.ts';
import { complain, openAdmin, printJson } from './admin-client.ts';
import { parseFlags, type Verb } from './verb.ts';

/** The gateway itself gives up earlier. */
const PATIENCE_MS = 150_000;

export const upgrade: Verb = {
  name: 'upgrade',
  usage: ADMIN_USAGE,
  summary: 'start the gateway anew from what is on disk, and hand everything over without a drop',
  async run(ctx, args) {
    const { values } = parseFlags(args, ADMIN_FLAGS, { positionals: 0 });
    const admin = await openAdmin(ctx, values);
    if (!admin) return 1;
    const answer = await admin.post('/api/upgrade', PATIENCE_MS);
    if (!answer.ok) return complain(ctx, answer.message);
    const { pid } = answer.body as { pid: number };
    if (values.json === true) return printJson(ctx, { pid });
    ctx.stdout.write(`process ${pid} serves; the one before it drains and ends\n`);
    return 0;
  },
};
