import { ageText } from '../admin/age.ts';
import type { ExplainReport, GateReport, GateVerdict, InstanceExplanation } from '../admin/reports.ts';
import type { TimelineEvent } from '../telemetry/timeline.ts';
import { ADMIN_FLAGS, ADMIN_USAGE } from './admin-address.ts';
import { complain, openAdmin, printJson } from './admin-client.ts';
import { printable } from './table.ts';
import { parseFlags, UsageError, type Verb } from './verb.ts';

const SHOWN_HISTORY = 5;

export const explain: Verb = {
  name: 'explain',
  usage: `SERVICE-or-URL [--instance ID] ${ADMIN_USAGE}`,
  summary: 'why each instance does or does not get traffic, gate by gate',
  async run(ctx, args) {
    const flags = { ...ADMIN_FLAGS, instance: { type: 'string' } } as const;
    const { values, positionals } = parseFlags(args, flags, { positionals: 1 });
    const [question] = positionals;
    if (question === undefined) throw new UsageError('which service, host or URL?');
    const admin = await openAdmin(ctx, values);
    if (!admin) return 1;
    const query = new URLSearchParams({ q: question });
    if (values.instance !== undefined) query.set('instance', values.instance);
    const answer = await admin.get(`/api/explain?${query.toString()}`);
    if (!answer.ok) return complain(ctx, answer.message);
    if (values.json === true) return printJson(ctx, answer.body);
    ctx.stdout.write(explainText(answer.body as ExplainReport, ctx.clock.wall()));
    return 0;
  },
};

/** The conclusion first, then every instance with its gates. */
export function explainText(report: ExplainReport, nowWallMs: number): string {
  const { host, service, conclusion, history, instances, omitted } = report;
  return [
    host === undefined ? '' : `${printable(host)} is served by ${printable(service)}\n`,
    `${printable(conclusion)}\n`,
    historyText(history, nowWallMs),
    ...instances.map((instance) => `\n${instanceText(instance, nowWallMs)}`),
    omitted === 0 ? '' : `\nand ${omitted} more; --instance ID shows any of them\n`,
  ].join('');
}

const TRAFFIC = { full: 'takes traffic', trial: 'takes trials only', none: 'NO TRAFFIC' } as const;

function instanceText(instance: InstanceExplanation, nowWallMs: number): string {
  const title = `${instance.id}  ${instance.address}  ${TRAFFIC[instance.traffic]}`;
  const gates = instance.gates.map(gateText);
  return `${printable(title)}\n${gates.join('')}${historyText(instance.history, nowWallMs)}`;
}

const MARKS: Readonly<Record<GateVerdict, string>> = { pass: 'ok', stop: 'STOP', trial: 'trial', overruled: 'moot' };

function gateText({ gate, verdict, text, forMs, evidence }: GateReport): string {
  const age = forMs === undefined ? '' : ` (for ${ageText(forMs)})`;
  const lines = evidence.map((line) => `${' '.repeat(21)}${printable(line)}\n`);
  return `  ${MARKS[verdict].padEnd(5)}  ${gate.padEnd(10)}  ${printable(text)}${age}\n${lines.join('')}`;
}

function historyText(events: readonly TimelineEvent[], nowWallMs: number): string {
  return events
    .slice(-SHOWN_HISTORY)
    .map(({ wall, kind, from, to, cause, evidence }) => {
      const change = from === undefined ? to : `${from} -> ${to}`;
      const seen = evidence === undefined ? '' : ` (${evidence})`;
      return `  ${`${ageText(nowWallMs - wall)} ago`.padEnd(10)}  ${kind}: ${printable(`${change}: ${cause}${seen}`)}\n`;
    })
    .join('');
}
