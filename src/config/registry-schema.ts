import { z } from 'zod';
import { httpUrl, listenAddress } from './addresses.ts';
import type {
  ConsulRegistryConfig,
  EmbeddedRegistryConfig,
  EurekaRegistryConfig,
  FileRegistryConfig,
  KubernetesRegistryConfig,
  RegistryConfig,
} from './config.ts';
import { dns, fixed } from './listed-registry-schema.ts';
import { commonKeys, selectionKeys, tlsKey, toCommon, toSelection, toTls } from './registry-common.ts';
import {
  anyNumber,
  choice,
  duration,
  flag,
  nameText,
  oneOrMore,
  optional,
  optionalText,
  secret,
  text,
  wants,
  wholeNumber,
} from './scalars.ts';
import { etcd, zookeeper } from './store-registry-schema.ts';
import { group } from './strict.ts';

const embedded = group({
  type: z.literal('embedded'),
  ...commonKeys('embedded'),
  ...selectionKeys,
  listen: oneOrMore(listenAddress()).prefault(['127.0.0.1:8761']).meta({
    description:
      'Where instances register: the native API, Eureka clients and the Consul agent API alike. Off loopback only with a token.',
  }),
  dataDir: text('a directory, or off').prefault('./data').meta({
    description:
      'Directory in which registrations survive a restart. off keeps them in memory: after a restart every instance must register again.',
  }),
  token: secret(
    'Bearer token that registering asks for. Without it whoever reaches the port can take over your traffic, which is why it is required off loopback.',
  ),
}).transform((given): EmbeddedRegistryConfig => ({
  type: 'embedded',
  ...toCommon(given),
  services: toSelection(given),
  listen: given.listen,
  dataDir: given.dataDir === 'off' ? undefined : given.dataDir,
  token: given.token,
}));

const consul = group({
  type: z.literal('consul'),
  ...commonKeys('consul'),
  ...selectionKeys,
  address: httpUrl('http://127.0.0.1:8500')
    .prefault('http://127.0.0.1:8500')
    .meta({ description: 'URL of an agent. The one on this machine spares the servers and survives their elections.' }),
  token: secret(
    'ACL token; it must be allowed to read the services and their nodes. A token that may not sees nothing at all.',
  ),
  datacenter: optionalText('Datacenter to ask about. Without it: that of the agent.'),
  namespace: optionalText('Namespace, in Consul Enterprise. Without it: that of the token.'),
  partition: optionalText('Admin partition, in Consul Enterprise. Without it: that of the agent.'),
  tags: anyNumber(text('a tag'))
    .prefault([])
    .meta({ description: 'Only instances that carry all of these tags. Empty takes every instance.' }),
  filter: optionalText('Consul’s own filter expression. Too narrow, and a service looks empty.'),
  consistency: choice(
    'Which servers may answer. `stale` takes any, and works without a leader; `consistent` asks the leader to make sure of itself each time, and so is slower; `default` is in between.',
    ['default', 'stale', 'consistent'],
    'default',
  ),
  wait: duration('How long a watch is held open for a change. Short asks often; long notices a dead connection late.', {
    fallback: '55s',
    min: '1s',
    max: '10m',
  }),
  tls: tlsKey,
}).transform((given): ConsulRegistryConfig => {
  const { address, token, datacenter, namespace, partition, tags, filter, consistency, wait: waitMs } = given;
  const scope = { datacenter, namespace, partition, tags, filter, consistency, waitMs };
  return {
    type: 'consul',
    ...toCommon(given),
    services: toSelection(given),
    address,
    token,
    ...scope,
    tls: toTls(given.tls),
  };
});

const eureka = group({
  type: z.literal('eureka'),
  ...commonKeys('eureka'),
  ...selectionKeys,
  urls: oneOrMore(httpUrl('http://127.0.0.1:8761/eureka'))
    .prefault(['http://127.0.0.1:8761/eureka'])
    .meta({ description: 'Base URLs of the servers, tried in turn; /eureka for Spring’s, /eureka/v2 for Netflix’s.' }),
  zone: optionalText('Only instances of this zone. Without it: of every zone.'),
  useSecurePort: flag('Whether instances are reached by their secure port, where they enable one, in TLS.', false),
  pollInterval: duration(
    'Eureka has no watch: changes are asked for this often. Below 30s the server’s own cache answers the same again, unless it was turned off.',
    {
      fallback: '5s',
      min: '100ms',
      max: '10m',
    },
  ),
  tls: tlsKey,
}).transform((given): EurekaRegistryConfig => {
  const { urls, zone, useSecurePort, pollInterval: pollIntervalMs } = given;
  return {
    type: 'eureka',
    ...toCommon(given),
    services: toSelection(given),
    urls,
    zone,
    useSecurePort,
    pollIntervalMs,
    tls: toTls(given.tls),
  };
});

const kubernetes = group({
  type: z.literal('kubernetes'),
  ...commonKeys('kubernetes'),
  ...selectionKeys,
  namespaces: oneOrMore(nameText()).prefault(['default']).meta({
    description:
      'Namespaces whose EndpointSlices are watched; the service account must be allowed to get, list and watch them.',
  }),
  kubeconfig: optionalText(
    'A kubeconfig file, for a gateway outside of the cluster. Without it: the service account of the pod.',
    'a file name',
  ),
  context: optionalText('Context in the kubeconfig. Without it: its current one.'),
  port: optional(
    z.union([nameText(), wholeNumber({ min: 1, max: 65_535 })], { error: wants('the name or the number of a port') }),
    'Name or number of the port that gets the traffic. Without it: the first one, which of a service with several may be that of its metrics.',
  ),
  labelSelector: optionalText('Only slices with these labels.'),
}).transform((given): KubernetesRegistryConfig => {
  const { namespaces, kubeconfig, context, port, labelSelector } = given;
  return {
    type: 'kubernetes',
    ...toCommon(given),
    services: toSelection(given),
    namespaces,
    kubeconfig,
    context,
    port,
    labelSelector,
  };
});

const file = group({
  type: z.literal('file'),
  ...commonKeys('file'),
  ...selectionKeys,
  path: text('a file or a directory').prefault('./instances.d').meta({
    description:
      'A YAML or JSON file, or a directory of them, watched for changes. Replace files by renaming: half a file is refused, and the last good set stays.',
  }),
}).transform((given): FileRegistryConfig => ({
  type: 'file',
  ...toCommon(given),
  services: toSelection(given),
  path: given.path,
}));

export const registrySchema = z.discriminatedUnion('type', [
  embedded,
  consul,
  etcd,
  zookeeper,
  eureka,
  kubernetes,
  dns,
  file,
  fixed,
]);

export const registriesSchema = z
  .array(registrySchema)
  .min(1, 'needs at least one registry')
  .max(64, 'more than 64 registries')
  .prefault([{ type: 'embedded', name: 'local' }])
  .transform((given): readonly RegistryConfig[] => given)
  .meta({
    description:
      'Sources of instances, merged into one pool per service. Where two say different things about one address, the earlier one holds.',
  });
