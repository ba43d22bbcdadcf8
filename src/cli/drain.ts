import type { InstanceReport } from '../admin/reports.ts';
import { sleep } from '../core/clock.ts';
import { DURATION_RULE, formatDuration, parseDuration } from '../core/units.ts';
import { ADMIN_FLAGS, ADMIN_USAGE } from './admin-address.ts';
import { complain, openAdmin, printJson, type AdminClient } from './admin-client.ts';
import { printable } from './table.ts';
import { parseFlags, UsageError, type CliContext, type Verb } from './verb.ts';

const POLL_MS = 250;
/** Unanswered questions in a row after which waiting is given up. */
const MAX_SILENCES = 3;

export const drain: Verb = {
  name: 'drain',
  usage: `SERVICE/ID [--wait] [--timeout 30s] ${ADMIN_USAGE}`,
  summary: 'take an instance out of rotation, and wait until nothing is in flight',
  async run(ctx, args) {
    const flags = {
      ...ADMIN_FLAGS,
      wait: { type: 'boolean' },
      timeout: { type: 'string', default: '30s' },
    } as const;
    const { values, positionals } = parseFlags(args, flags, { positionals: 1 });
    const timeoutMs = parseDuration(values.timeout);
    if (timeoutMs === undefined) throw new UsageError(`--timeout wants ${DURATION_RULE}`);
    const target = parseTarget(positionals[0]);
    const admin = await openAdmin(ctx, values);
    if (!admin) return 1;
    const answer = await admin.post(`${target.path}/drain`);
    if (!answer.ok) return complain(ctx, answer.message);
    const report = answer.body as InstanceReport;
    const result: Drained =
      values.wait === true
        ? await untilIdle(ctx, admin, target, timeoutMs)
        : { ok: true, text: soFar(target, report), inflight: report.inflight };
    if (!result.ok) return complain(ctx, result.text);
    if (values.json === true)
      return printJson(ctx, { instance: target.name, drained: true, inflight: result.inflight });
    ctx.stdout.write(`${result.text}\n`);
    return 0;
  },
};

export interface Target {
  /** `SERVICE/ID`, as it was given. */
  readonly name: string;
  /** Of the admin API. */
  readonly path: string;
}

export function parseTarget(text: string | undefined): Target {
  const [service, id, ...rest] = text?.split('/') ?? [];
  if (!service || !id || rest.length > 0) throw new UsageError('which instance? It is named by SERVICE/ID');
  return {
    name: printable(`${service}/${id}`),
    path: `/api/services/${encodeURIComponent(service)}/instances/${encodeURIComponent(id)}`,
  };
}

function soFar({ name }: Target, { inflight }: InstanceReport): string {
  return `${name} takes nothing new; ${inflight === 0 ? 'nothing is' : `${inflight} still`} in flight`;
}

type Drained =
  | { readonly ok: true; readonly text: string; readonly inflight: number }
  | { readonly ok: false; readonly text: string };

async function untilIdle(ctx: CliContext, admin: AdminClient, target: Target, timeoutMs: number): Promise<Drained> {
  const { clock, signal } = ctx;
  const { name } = target;
  const endMs = clock.now() + timeoutMs;
  let idle = 0;
  let silences = 0;
  let inflight: number | undefined;
  while (true) {
    const answer = await admin.get(target.path);
    if (signal.aborted) return { ok: false, text: `interrupted; ${name} stays out of rotation` };
    if (answer.ok) {
      const report = answer.body as InstanceReport;
      if (!report.drained && !report.leaving)
        return { ok: false, text: `${name} was let into rotation again by someone` };
      silences = 0;
      inflight = report.inflight;
      // Twice in a row: a data-plane thread may have picked it just before it heard of the drain.
      idle = inflight === 0 ? idle + 1 : 0;
      if (idle === 2) return { ok: true, text: `${name} is drained: nothing is in flight`, inflight };
    } else if (answer.status === 404) {
      return { ok: true, text: `${name} is drained: it has been deregistered, and nothing is in flight`, inflight: 0 };
    } else if (++silences === MAX_SILENCES) {
      return { ok: false, text: `${name} takes nothing new, but whether it is idle is not known: ${answer.message}` };
    }
    if (clock.now() + POLL_MS > endMs) {
      const left = inflight === undefined ? 'how many are in flight is not known' : `${inflight} still in flight`;
      return { ok: false, text: `${name} takes nothing new, but ${left} after ${formatDuration(timeoutMs)}` };
    }
    await sleep(clock, POLL_MS, signal);
  }
}
