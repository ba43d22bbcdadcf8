import { z } from 'zod';
import { normalizeHost, normalizeIp } from '../core/address.ts';
import { addressOf, instance, type Instance } from '../core/instance.ts';
import { isName } from '../core/names.ts';
import { ENDPOINT_RULE, hostPort, parseHostPort } from './addresses.ts';
import type { DnsQuery, DnsRegistryConfig, HostPort, StaticRegistryConfig } from './config.ts';
import { commonKeys, toCommon } from './registry-common.ts';
import {
  anyNumber,
  duration,
  flag,
  nameText,
  optional,
  optionalText,
  oneOrMore,
  refuse,
  text,
  wants,
  wholeNumber,
} from './scalars.ts';
import { group } from './strict.ts';

const SERVER_RULE = 'a name server such as 127.0.0.1:8600 or 10.0.0.2';
const QUERY_RULE = 'a name to ask for: _http._tcp.web.example.com (SRV), or web.example.com:8080 (A and AAAA)';
const DNS_NAME = /^(?=.{1,253}$)[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,62})(?:\.[A-Za-z0-9_][A-Za-z0-9_-]{0,62})*\.?$/;

/** A name server has an address, since somebody would have to resolve its name. */
const nameServer = z.string({ error: wants(SERVER_RULE) }).transform((value, ctx): HostPort => {
  const ip = normalizeIp(value);
  const parsed = ip === undefined ? parseHostPort(value) : { host: ip, port: 53 };
  return parsed && normalizeIp(parsed.host) !== undefined && parsed.port > 0
    ? parsed
    : refuse(ctx, `wants ${SERVER_RULE}`);
});

const dnsQuery = z.string({ error: wants(QUERY_RULE) }).transform((value, ctx): DnsQuery => {
  if (value.startsWith('_') && DNS_NAME.test(value)) return { kind: 'srv', name: value };
  const parsed = parseHostPort(value);
  if (parsed && parsed.port > 0 && normalizeIp(parsed.host) === undefined)
    return { kind: 'address', name: parsed.host, port: parsed.port };
  return refuse(
    ctx,
    DNS_NAME.test(value)
      ? 'wants a port behind the name, such as web.example.com:8080: only SRV records say one'
      : `wants ${QUERY_RULE}`,
  );
});

export const dns = group({
  type: z.literal('dns'),
  ...commonKeys('dns'),
  servers: oneOrMore(nameServer)
    .optional()
    .transform((servers) => servers ?? [])
    .meta({ description: 'Name servers, tried in turn. Without it: those of the system.' }),
  services: z.record(nameText(), dnsQuery, { error: wants('a map from service names to what is asked') }).meta({
    description:
      'From our name of a service to what is asked: a name that begins with _ is an SRV query, any other needs :port and is asked for A and AAAA.',
  }),
  tcp: flag(
    'Whether to ask by TCP. Consul leaves instances out of UDP answers without saying so; name servers that do not speak TCP need false.',
    false,
  ),
  minTtl: duration(
    'Nothing is asked more often than this, whatever time to live the answer has. Short follows faster and loads the name server.',
    {
      fallback: '5s',
      min: '100ms',
      max: '1h',
    },
  ),
}).transform((given): DnsRegistryConfig => ({
  type: 'dns',
  ...toCommon(given),
  servers: given.servers,
  services: new Map(Object.entries(given.services)),
  tcp: given.tcp,
  minTtlMs: given.minTtl,
}));

const address = hostPort(ENDPOINT_RULE);

const HOST = 'an IP address or a host name';

const described = group({
  host: z
    .string({ error: wants(HOST) })
    .transform((value, ctx) => normalizeHost(value) ?? refuse(ctx, `wants ${HOST}`))
    .meta({ description: 'IP address, IPv6 without brackets, or host name.' }),
  port: wholeNumber({ min: 1, max: 65_535 }).meta({ description: 'Port.' }),
  id: optional(nameText(), 'Unique within the service. Without it: made from the address.'),
  weight: z
    .number({ error: wants('a number') })
    .positive('must be above 0')
    .max(1_000_000, 'must be at most 1000000')
    .prefault(1)
    .meta({ description: 'Share of the traffic, relative to the others.' }),
  zone: optionalText('Where it is.'),
  version: optionalText('What runs there.'),
  secure: flag('Whether it speaks TLS.', false),
  metadata: z
    .record(text('a name'), z.string({ error: wants('text') }).max(1024))
    .prefault({})
    .meta({ description: 'Anything else, shown in status.' }),
});

const listed = z
  .union([address, described], { error: wants(`${ENDPOINT_RULE}, or a group with host and port`) })
  .transform((given) =>
    'metadata' in given ? { ...given, metadata: new Map(Object.entries(given.metadata)) } : given,
  );

/** Instances that the file itself lists. */
export const fixed = group({
  type: z.literal('static'),
  ...commonKeys('static'),
  services: z
    .record(nameText(), anyNumber(listed), {
      error: wants('a map from service names to addresses'),
    })
    .meta({
      description:
        'From the name of a service to its instances: host:port, or a group of keys. An empty list is a service without instances.',
    }),
}).transform((given, ctx): StaticRegistryConfig => {
  const services = Object.entries(given.services).map(([service, list]) => {
    const taken = { address: new Set<string>(), id: new Set<string>() };
    const instances = list.map((each, index) => {
      const made = toInstance(service, each);
      const complain = (message: string): void => {
        ctx.issues.push({ code: 'custom', path: ['services', service, index], message, input: undefined });
      };
      if (taken.address.has(addressOf(made))) complain('is listed before in this service');
      else if (!isName(made.id)) complain('wants an `id`: its address is too long to be one');
      else if (taken.id.has(made.id)) complain('has the id of another instance of this service');
      taken.address.add(addressOf(made));
      taken.id.add(made.id);
      return made;
    });
    return [service, instances] as const;
  });
  return { type: 'static', ...toCommon(given), services: new Map(services) };
});

function toInstance(service: string, given: z.output<typeof listed>): Instance {
  const { host, port } = given;
  const id = `${host.replaceAll(':', '-')}-${port}`;
  if (!('metadata' in given)) return instance({ service, id, host, port });
  const { weight, zone, version, secure, metadata } = given;
  return instance({ service, id: given.id ?? id, host, port, weight, zone, version, secure, metadata });
}
