import type { RegistryReport } from '../admin/deps.ts';
import { ageText } from '../admin/age.ts';
import type { InstanceReport, ServiceReport, ServiceSummary } from '../admin/reports.ts';
import { ADMIN_FLAGS, ADMIN_USAGE } from './admin-address.ts';
import { complain, openAdmin, printJson, type AdminClient } from './admin-client.ts';
import { printable, table } from './table.ts';
import { parseFlags, type CliContext, type Verb } from './verb.ts';

export const status: Verb = {
  name: 'status',
  usage: `[SERVICE] ${ADMIN_USAGE}`,
  summary: 'services and instances with their state, from a running gateway',
  async run(ctx, args) {
    const { values, positionals } = parseFlags(args, ADMIN_FLAGS, { positionals: 1 });
    const admin = await openAdmin(ctx, values);
    if (!admin) return 1;
    const [service] = positionals;
    return service === undefined
      ? overview(ctx, admin, values.json === true)
      : oneService(ctx, admin, service, values.json === true);
  },
};

async function overview(ctx: CliContext, admin: AdminClient, json: boolean): Promise<number> {
  const [listed, sources] = await Promise.all([admin.get('/api/services'), admin.get('/api/registries')]);
  if (!listed.ok) return complain(ctx, listed.message);
  if (!sources.ok) return complain(ctx, sources.message);
  const { services } = listed.body as { readonly services: readonly ServiceSummary[] };
  const { registries } = sources.body as { readonly registries: readonly RegistryReport[] };
  if (json) return printJson(ctx, { services, registries });
  ctx.stdout.write(services.length === 0 ? 'no service is configured or registered\n' : servicesTable(services));
  ctx.stdout.write(`\n${registriesTable(registries)}`);
  return 0;
}

function servicesTable(services: readonly ServiceSummary[]): string {
  return table(
    [
      { title: 'SERVICE' },
      { title: 'REGISTERED', right: true },
      { title: 'AVAILABLE', right: true },
      { title: 'TAKING TRAFFIC', right: true },
      { title: 'IN FLIGHT', right: true },
      { title: 'INSTANCES' },
    ],
    services.map((service) => [
      service.name,
      String(service.registered),
      String(service.available),
      String(service.takingTraffic),
      String(service.inflight),
      statesText(service),
    ]),
  );
}

function statesText({ states, panic }: ServiceSummary): string {
  const counts = Object.entries(states).map(([state, count]) => `${count} ${state}`);
  return [...(panic === 'off' ? [] : [`PANIC (${panic})`]), ...counts].join(', ');
}

function registriesTable(registries: readonly RegistryReport[]): string {
  const columns = ['REGISTRY', 'TYPE', 'STATE', 'HEARD FROM', 'INSTANCES', 'NOTE'];
  return table(
    columns.map((title) => ({ title, right: title === 'INSTANCES' })),
    registries.map((registry) => [
      registry.name,
      registry.type,
      registry.state,
      registry.ageMs === undefined ? 'never' : `${ageText(registry.ageMs)} ago`,
      String(registry.instances),
      registryNote(registry),
    ]),
  );
}

function registryNote({ held, lastError, retryInMs, state }: RegistryReport): string {
  const holds = held.map(({ service, instances, forMs }) => `${instances} of ${service} held for ${ageText(forMs)}`);
  const lost = state === 'synced' || !lastError ? [] : [lastError.message];
  const retry = retryInMs === undefined ? [] : [`next try in ${ageText(retryInMs)}`];
  return [...lost, ...retry, ...holds].join('; ');
}

async function oneService(ctx: CliContext, admin: AdminClient, name: string, json: boolean): Promise<number> {
  const answer = await admin.get(`/api/services/${encodeURIComponent(name)}`);
  if (!answer.ok) return complain(ctx, answer.message);
  if (json) return printJson(ctx, answer.body);
  const service = answer.body as ServiceReport;
  const hosts = service.hosts.length === 0 ? '' : `, hosts ${service.hosts.join(' ')}`;
  ctx.stdout.write(printable(`${service.name}: ${statesText(service) || 'no instance'}; ${service.balancer}${hosts}`));
  ctx.stdout.write('\n');
  if (service.instances.length > 0) ctx.stdout.write(`\n${instancesTable(service.instances)}`);
  if (service.omitted > 0) ctx.stdout.write(`and ${service.omitted} more\n`);
  return 0;
}

function instancesTable(instances: readonly InstanceReport[]): string {
  const numbers = ['SHARE', 'IN FLIGHT', 'REQUESTS', 'FAILED', 'LATENCY'];
  const columns = ['INSTANCE', 'ADDRESS', 'STATE', 'TRAFFIC', ...numbers, 'ZONE', 'VERSION'];
  return table(
    columns.map((title) => ({ title, right: numbers.includes(title) })),
    instances.map((instance) => [
      instance.id,
      instance.address,
      instance.leaving ? 'leaving' : instance.state,
      instance.traffic,
      `${(instance.share * 100).toFixed(0)} %`,
      String(instance.inflight),
      String(instance.attempts),
      String(instance.failures),
      instance.latencyMs === undefined ? '-' : `${instance.latencyMs.toFixed(1)} ms`,
      instance.zone ?? '-',
      instance.version ?? '-',
    ]),
  );
}
