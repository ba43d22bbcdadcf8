import type { Instance } from '../core/instance.ts';
import type { ServicePolicy } from '../core/policy.ts';

/**
 * The configuration as the rest of the gateway reads it: every default filled in, durations in milliseconds, sizes in
 * bytes, environment variables replaced. Plain data, deeply immutable, and fit for `structuredClone`, so that it can
 * be handed to threads. File names are as written: relative ones are relative to the working directory.
 */
export interface Config {
  readonly gateway: GatewayConfig;
  /** Data-plane threads; `auto` is one per core. */
  readonly workers: number | 'auto';
  readonly admin: AdminConfig;
  /** At least one. Where two registries say different things about one address, the earlier one holds. */
  readonly registries: readonly RegistryConfig[];
  /** The policy of every service that `services` does not name. Its `hosts` are empty. */
  readonly defaultPolicy: ServicePolicy;
  /** The services that the file names, `defaults` merged in. A name here need not be registered anywhere. */
  readonly services: ReadonlyMap<string, ServicePolicy>;
  readonly shutdown: ShutdownConfig;
  readonly log: LogConfig;
  readonly metrics: MetricsConfig;
}

/** IPv6 without brackets. */
export interface HostPort {
  readonly host: string;
  readonly port: number;
}

export interface GatewayConfig {
  readonly listen: readonly HostPort[];
  /** Every service S answers at `S.<domain>`. Lower case. */
  readonly domain: string;
  /** Networks (`10.0.0.0/8`) whose `X-Forwarded-*` is believed. */
  readonly trustedProxies: readonly string[];
  /** `off`, or where the lines go. */
  readonly accessLog: 'off' | LogDestination;
  readonly allowUnderscoreHeaders: boolean;
  readonly limits: GatewayLimits;
  readonly timeouts: GatewayTimeouts;
  readonly upstreamAddresses: UpstreamAddresses;
  /** Reload whenever the content of the file changes. */
  readonly watchConfig: boolean;
  /** Where the last known good set of every registry is kept; undefined = nowhere. */
  readonly stateDir: string | undefined;
}

export interface LogDestination {
  readonly to: 'stdout' | 'stderr' | 'file';
  /** Defined exactly for `file`. */
  readonly path: string | undefined;
}

/** All but the last over the whole gateway, not per thread. */
export interface GatewayLimits {
  readonly headBytes: number;
  readonly headFields: number;
  readonly targetBytes: number;
  readonly connections: number;
  readonly requests: number;
  readonly instances: number;
  readonly services: number;
  /** 0 = at any rate. */
  readonly bodyMinBytesPerSecond: number;
  /** Of one data-plane thread: heap and buffers. */
  readonly threadMemoryBytes: number;
}

export interface GatewayTimeouts {
  readonly requestHeadMs: number;
  readonly keepAliveMs: number;
  /** Of request bodies; those of responses are under the service's timeouts. */
  readonly bodyIdleMs: number;
  /** When `bodyMinBytesPerSecond` begins to hold. */
  readonly bodyGraceMs: number;
}

/** Which addresses the gateway may connect to. The options of `AddressPolicy` in core/address.ts. */
export interface UpstreamAddresses {
  /** Networks; empty = any. */
  readonly allow: readonly string[];
  readonly deny: readonly string[];
  readonly allowLoopback: boolean;
  /** Ranges, both ends included; empty = every port. */
  readonly ports: readonly (readonly [number, number])[];
}

export interface AdminConfig {
  readonly listen: HostPort;
  readonly token: string | undefined;
}

export interface ShutdownConfig {
  /** After the signal, readiness fails and new work is still taken for this long. */
  readonly acceptForMs: number;
  /** Then what is in flight may take this long to end. */
  readonly drainMs: number;
}

export interface LogConfig {
  readonly level: 'debug' | 'info' | 'warn' | 'error';
  readonly destination: LogDestination;
}

export interface MetricsConfig {
  /** Whether there are series per instance. */
  readonly perInstance: boolean;
}

export type RegistryConfig =
  | EmbeddedRegistryConfig
  | ConsulRegistryConfig
  | EtcdRegistryConfig
  | ZookeeperRegistryConfig
  | EurekaRegistryConfig
  | KubernetesRegistryConfig
  | DnsRegistryConfig
  | FileRegistryConfig
  | StaticRegistryConfig;

/** What every registry has. */
export interface CommonRegistryConfig {
  /** Unique among the registries; `isName` holds. */
  readonly name: string;
  readonly guard: GuardConfig;
  /** Everything is read anew and compared this often, whatever the watch said. */
  readonly relistIntervalMs: number;
}

/** When much disappears at once. The options of `registry/guard.ts`. */
export interface GuardConfig {
  readonly enabled: boolean;
  /** Losing more than this share of a service's instances at once is held back until it is confirmed. */
  readonly maxLoss: number;
  /** A second read after this long confirms the loss. */
  readonly confirmAfterMs: number;
  /** Without an answer either way the loss is believed after this long. */
  readonly deadlineMs: number;
  /** Losses within this time count together. */
  readonly windowMs: number;
  /** Fewer instances than this deregistered within the window are believed at once. */
  readonly minBurst: number;
}

/** Which services of a registry are taken over, and what they are called here. */
export type ServiceSelection =
  | {
      readonly kind: 'all';
      /** Put before the registry's own name. */
      readonly prefix: string;
    }
  | {
      readonly kind: 'named';
      /** From our name, prefix included, to the registry's own. Several of ours may mean the same one. */
      readonly theirs: ReadonlyMap<string, string>;
    };

/** Of a registry that has names of its own. */
export interface SelectsServices {
  readonly services: ServiceSelection;
}

/** File names of PEM files, and how much is checked. */
export interface TlsConfig {
  readonly caFile: string | undefined;
  readonly certFile: string | undefined;
  readonly keyFile: string | undefined;
  readonly verify: boolean;
  readonly serverName: string | undefined;
}

export interface EmbeddedRegistryConfig extends CommonRegistryConfig, SelectsServices {
  readonly type: 'embedded';
  readonly listen: readonly HostPort[];
  /** Where registrations survive a restart; undefined = in memory only. */
  readonly dataDir: string | undefined;
  readonly token: string | undefined;
}

export interface ConsulRegistryConfig extends CommonRegistryConfig, SelectsServices {
  readonly type: 'consul';
  readonly address: string;
  readonly token: string | undefined;
  readonly datacenter: string | undefined;
  readonly namespace: string | undefined;
  readonly partition: string | undefined;
  /** Only instances that carry all of them. */
  readonly tags: readonly string[];
  readonly filter: string | undefined;
  readonly consistency: 'default' | 'stale' | 'consistent';
  readonly waitMs: number;
  readonly tls: TlsConfig;
}

export interface EtcdRegistryConfig extends CommonRegistryConfig, SelectsServices {
  readonly type: 'etcd';
  readonly endpoints: readonly string[];
  /** Ends with `/`. */
  readonly prefix: string;
  readonly layout: 'auto' | 'json' | 'grpc' | 'bare';
  readonly credentials: Credentials | undefined;
  readonly tls: TlsConfig;
}

export interface Credentials {
  readonly user: string;
  readonly password: string;
}

export interface ZookeeperRegistryConfig extends CommonRegistryConfig, SelectsServices {
  readonly type: 'zookeeper';
  readonly servers: readonly HostPort[];
  /** Begins with `/` and does not end with it; empty = none. */
  readonly chroot: string;
  /** Under the chroot; begins with `/` and does not end with it. */
  readonly path: string;
  readonly layout: 'auto' | 'plain' | 'curator' | 'spring';
  /** The digest scheme. */
  readonly auth: Credentials | undefined;
  readonly sessionTimeoutMs: number;
}

export interface EurekaRegistryConfig extends CommonRegistryConfig, SelectsServices {
  readonly type: 'eureka';
  /** Tried in turn. */
  readonly urls: readonly string[];
  readonly zone: string | undefined;
  readonly useSecurePort: boolean;
  readonly pollIntervalMs: number;
  readonly tls: TlsConfig;
}

export interface KubernetesRegistryConfig extends CommonRegistryConfig, SelectsServices {
  readonly type: 'kubernetes';
  readonly namespaces: readonly string[];
  /** undefined = the pod's own service account. */
  readonly kubeconfig: string | undefined;
  readonly context: string | undefined;
  /** Name or number of the port to use; undefined = the first one. */
  readonly port: string | number | undefined;
  readonly labelSelector: string | undefined;
}

export interface DnsRegistryConfig extends CommonRegistryConfig {
  readonly type: 'dns';
  /** Empty = those of the system. */
  readonly servers: readonly HostPort[];
  /** From our name to what is asked. */
  readonly services: ReadonlyMap<string, DnsQuery>;
  readonly tcp: boolean;
  readonly minTtlMs: number;
}

/** A and AAAA say no port, so that it is configured. */
export type DnsQuery =
  | { readonly kind: 'srv'; readonly name: string }
  | { readonly kind: 'address'; readonly name: string; readonly port: number };

export interface FileRegistryConfig extends CommonRegistryConfig, SelectsServices {
  readonly type: 'file';
  /** A file, or a directory of files. */
  readonly path: string;
}

export interface StaticRegistryConfig extends CommonRegistryConfig {
  readonly type: 'static';
  readonly services: ReadonlyMap<string, readonly Instance[]>;
}
