import { z } from 'zod';
import { httpUrl, parseHostPort } from './addresses.ts';
import type { Credentials, EtcdRegistryConfig, HostPort, ZookeeperRegistryConfig } from './config.ts';
import { commonKeys, selectionKeys, tlsKey, toCommon, toSelection, toTls } from './registry-common.ts';
import { choice, duration, oneOrMore, optional, optionalText, refuse, text, wants } from './scalars.ts';
import { group } from './strict.ts';

export const etcd = group({
  type: z.literal('etcd'),
  ...commonKeys('etcd'),
  ...selectionKeys,
  endpoints: oneOrMore(httpUrl('http://127.0.0.1:2379'))
    .prefault(['http://127.0.0.1:2379'])
    .meta({ description: 'Client URLs of the members, tried in turn. One alone is lost with its machine.' }),
  prefix: text('a key prefix')
    .prefault('/services/')
    .transform((prefix) => (prefix.endsWith('/') ? prefix : `${prefix}/`))
    .meta({ description: 'Keys are <prefix><service>/<id>. A prefix above the services reads everything below it.' }),
  layout: choice(
    'What values hold. `json` is {"host", "port", …}, `grpc` the naming scheme of gRPC, `bare` is host:port; `auto` looks at each value.',
    ['auto', 'json', 'grpc', 'bare'],
    'auto',
  ),
  username: optionalText(
    'User to log in as; its role must be allowed to read the prefix. Without it: no authentication.',
  ),
  password: optional(z.string({ error: wants('text') }).min(1, 'must not be empty'), 'The password of `username`.'),
  tls: tlsKey,
})
  .superRefine((given, ctx) => {
    pairOf(ctx, 'username', given.username, 'password', given.password);
  })
  .transform((given): EtcdRegistryConfig => {
    const { endpoints, prefix, layout, username, password } = given;
    const credentials = toCredentials(username, password);
    return {
      type: 'etcd',
      ...toCommon(given),
      services: toSelection(given),
      endpoints,
      prefix,
      layout,
      credentials,
      tls: toTls(given.tls),
    };
  });

const CONNECT_RULE = 'servers such as "zk1:2181,zk2:2181", with a chroot such as /app behind them or not';

const zookeeperConnect = z
  .string({ error: wants(CONNECT_RULE) })
  .transform((connect, ctx): { servers: HostPort[]; chroot: string } => {
    const slash = connect.indexOf('/');
    const list = slash < 0 ? connect : connect.slice(0, slash);
    const chroot = slash < 0 ? '' : connect.slice(slash).replace(/\/+$/, '');
    const servers = list.split(',').map((each) => parseHostPort(each.trim()) ?? parseHostPort(`${each.trim()}:2181`));
    const known = servers.filter((server) => server !== undefined && server.port > 0) as HostPort[];
    if (known.length !== servers.length || !/^(?:\/[^/\x00-\x1f\x7f-\x9f]+)*$/.test(chroot))
      return refuse(ctx, `wants ${CONNECT_RULE}`);
    return { servers: known, chroot };
  });

export const zookeeper = group({
  type: z.literal('zookeeper'),
  ...commonKeys('zookeeper'),
  ...selectionKeys,
  connect: zookeeperConnect.prefault('127.0.0.1:2181').meta({
    description:
      'Servers of the ensemble, separated by commas, and a chroot behind them if there is one. One server alone is lost with its machine.',
  }),
  path: z
    .string({ error: wants('a path such as /services') })
    .regex(/^(?:\/[^/\x00-\x1f\x7f-\x9f]+)+\/?$/, 'wants a path such as /services')
    .transform((path) => path.replace(/\/$/, ''))
    .prefault('/services')
    .meta({ description: 'Node above the services: <path>/<service>/<id>.' }),
  layout: choice(
    'What nodes hold. `plain` is {"host", "port", …} or host:port, `curator` its service discovery, `spring` that of Spring Cloud; `auto` looks at each node.',
    ['auto', 'plain', 'curator', 'spring'],
    'auto',
  ),
  auth: optional(
    group({
      scheme: z
        .literal('digest', { error: wants('digest, the one scheme there is') })
        .prefault('digest')
        .meta({ description: 'The one scheme there is.' }),
      user: text('a name').meta({ description: 'The user of the ACLs.' }),
      password: z
        .string({ error: wants('text') })
        .min(1, 'must not be empty')
        .meta({ description: 'The password; ZooKeeper hashes it, and sends it in the clear.' }),
    }),
    'Who we are for the ACLs of the nodes. Without it: anyone.',
  ),
  sessionTimeout: duration(
    'The session ends after this long without contact. Short takes a pause for a loss; the server bounds it to 2 to 20 of its ticks.',
    {
      fallback: '10s',
      min: '1s',
      max: '10m',
    },
  ),
}).transform((given): ZookeeperRegistryConfig => {
  const { connect, path, layout, auth, sessionTimeout: sessionTimeoutMs } = given;
  const credentials = toCredentials(auth?.user, auth?.password);
  return {
    type: 'zookeeper',
    ...toCommon(given),
    services: toSelection(given),
    ...connect,
    path,
    layout,
    auth: credentials,
    sessionTimeoutMs,
  };
});

function pairOf(ctx: z.core.$RefinementCtx, a: string, aValue: unknown, b: string, bValue: unknown): void {
  if ((aValue === undefined) === (bValue === undefined)) return;
  const missing = aValue === undefined ? a : b;
  ctx.issues.push({
    code: 'custom',
    path: [missing],
    message: `is missing: \`${a}\` and \`${b}\` go together`,
    input: undefined,
  });
}

function toCredentials(user: string | undefined, password: string | undefined): Credentials | undefined {
  return user === undefined || password === undefined ? undefined : { user, password };
}
