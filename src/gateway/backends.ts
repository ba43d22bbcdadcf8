import type { EmbeddedRegistryConfig, RegistryConfig } from '../config/config.ts';
import type { Clock } from '../core/clock.ts';
import type { Random } from '../core/random.ts';
import type { OnSkip, RegistryBackend } from '../registry/backend.ts';
import { ConsulBackend } from '../registry/consul/consul-backend.ts';
import { EtcdBackend } from '../registry/etcd/etcd-backend.ts';
import { StaticBackend } from '../registry/static/static-backend.ts';
import { tlsFiles } from './tls-files.ts';

export interface BackendDeps {
  readonly clock: Clock;
  readonly random: Random;
  readonly onSkip: OnSkip;
}

/** Registries outside the process. */
export type RemoteRegistryConfig = Exclude<RegistryConfig, EmbeddedRegistryConfig>;

/** The one place that knows every kind of registry outside the process. */
export function createBackend(config: RemoteRegistryConfig, deps: BackendDeps): RegistryBackend {
  switch (config.type) {
    case 'consul': {
      const { address, tls, ...scope } = config;
      return new ConsulBackend({ ...scope, ...deps, addresses: [address], tls: tlsFiles(config.name, tls) });
    }
    case 'etcd': {
      const { credentials, tls, endpoints, prefix } = config;
      return new EtcdBackend({
        ...deps,
        name: config.name,
        endpoints,
        prefix,
        username: credentials?.user,
        password: credentials?.password,
        tls: tlsFiles(config.name, tls),
      });
    }
    case 'static':
      return new StaticBackend({ services: config.services });
    case 'zookeeper':
    case 'eureka':
    case 'kubernetes':
    case 'dns':
    case 'file':
      throw new Error(`registry ${config.name}: type ${config.type} is not built yet`);
  }
}
