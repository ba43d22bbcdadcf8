import type { EmbeddedRegistryConfig, KubernetesRegistryConfig, RegistryConfig } from '../config/config.ts';
import type { Clock } from '../core/clock.ts';
import type { Random } from '../core/random.ts';
import type { OnSkip, RegistryBackend } from '../registry/backend.ts';
import { ConsulBackend } from '../registry/consul/consul-backend.ts';
import { DnsBackend } from '../registry/dns/dns-backend.ts';
import { EtcdBackend } from '../registry/etcd/etcd-backend.ts';
import { EurekaBackend } from '../registry/eureka/eureka-backend.ts';
import { FileBackend } from '../registry/file/file-backend.ts';
import type { ClusterAccess } from '../registry/kubernetes/credentials.ts';
import { KubernetesBackend } from '../registry/kubernetes/kubernetes-backend.ts';
import { StaticBackend } from '../registry/static/static-backend.ts';
import { ZookeeperBackend } from '../registry/zookeeper/zookeeper-backend.ts';
import { tlsFiles } from './tls-files.ts';

/** Where Kubernetes tells every pod the address of its API server. */
export interface ClusterAddress {
  readonly host: string | undefined;
  readonly port: string | undefined;
}

export interface BackendDeps {
  readonly clock: Clock;
  readonly random: Random;
  readonly onSkip: OnSkip;
  readonly cluster: ClusterAddress;
}

/** Registries outside the process. */
export type RemoteRegistryConfig = Exclude<RegistryConfig, EmbeddedRegistryConfig>;

/** The one place that knows every kind of registry outside the process. */
export function createBackend(config: RemoteRegistryConfig, deps: BackendDeps): RegistryBackend {
  const { clock, random, onSkip } = deps;
  const common = { name: config.name, clock, random, onSkip };
  switch (config.type) {
    case 'consul': {
      const { address, tls, ...scope } = config;
      return new ConsulBackend({ ...scope, ...common, addresses: [address], tls: tlsFiles(config.name, tls) });
    }
    case 'etcd': {
      const { credentials, tls, endpoints, prefix, layout } = config;
      const { user: username, password } = credentials ?? {};
      return new EtcdBackend({
        ...common,
        endpoints,
        prefix,
        layout,
        username,
        password,
        tls: tlsFiles(config.name, tls),
      });
    }
    case 'zookeeper': {
      const { servers, chroot, path, layout, auth, sessionTimeoutMs } = config;
      return new ZookeeperBackend({ ...common, servers, chroot, path, layout, auth, sessionTimeoutMs });
    }
    case 'eureka': {
      const { urls, zone, useSecurePort, pollIntervalMs, tls } = config;
      return new EurekaBackend({
        ...common,
        urls,
        zone,
        useSecurePort,
        pollIntervalMs,
        tls: tlsFiles(config.name, tls),
      });
    }
    case 'kubernetes': {
      const { namespaces, labelSelector, port } = config;
      const access = clusterAccess(config, deps.cluster);
      return new KubernetesBackend({ ...common, access, namespaces, labelSelector, port });
    }
    case 'dns': {
      const { servers, services, tcp, minTtlMs } = config;
      return new DnsBackend({ ...common, servers, services, tcp, minTtlMs });
    }
    case 'file':
      return new FileBackend({ path: config.path, clock, onSkip });
    case 'static':
      return new StaticBackend({ services: config.services });
  }
}

function clusterAccess(
  { kubeconfig, context }: KubernetesRegistryConfig,
  { host, port }: ClusterAddress,
): ClusterAccess {
  if (kubeconfig !== undefined) return { kind: 'kubeconfig', file: kubeconfig, context };
  return { kind: 'in-cluster', host, port };
}
