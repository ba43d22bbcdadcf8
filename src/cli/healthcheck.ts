import { DURATION_RULE, parseDuration } from '../core/units.ts';
import { ADMIN_FLAGS, ADMIN_USAGE } from './admin-address.ts';
import { complain, openAdmin, printJson } from './admin-client.ts';
import { parseFlags, UsageError, type Verb } from './verb.ts';

export const healthcheck: Verb = {
  name: 'healthcheck',
  usage: `[--ready] [--timeout 2s] ${ADMIN_USAGE}`,
  summary: 'exit 0 if the gateway is alive (with --ready: ready for traffic); for containers',
  async run(ctx, args) {
    const flags = {
      ...ADMIN_FLAGS,
      ready: { type: 'boolean' },
      timeout: { type: 'string', default: '2s' },
    } as const;
    const { values } = parseFlags(args, flags, { positionals: 0 });
    const timeoutMs = parseDuration(values.timeout);
    if (timeoutMs === undefined || timeoutMs === 0) throw new UsageError(`--timeout wants ${DURATION_RULE}`);
    const admin = await openAdmin(ctx, values);
    if (!admin) return 1;
    const answer = await admin.get(values.ready === true ? '/readyz' : '/healthz', timeoutMs);
    if (answer.ok) {
      if (values.json === true) return printJson(ctx, answer.body);
      ctx.stdout.write(values.ready === true ? `ready${warningsText(answer.body)}\n` : 'alive\n');
      return 0;
    }
    return complain(ctx, answer.status === 503 ? notReadyText(answer.body) : answer.message);
  },
};

function warningsText(body: unknown): string {
  const { warnings } = body as { readonly warnings?: readonly string[] };
  return (warnings ?? []).map((warning) => `; warning: ${warning}`).join('');
}

function notReadyText(body: unknown): string {
  const { reasons } = body as { readonly reasons?: readonly { readonly component: string; readonly reason: string }[] };
  return `not ready: ${(reasons ?? []).map(({ component, reason }) => `${component}: ${reason}`).join('; ')}`;
}
