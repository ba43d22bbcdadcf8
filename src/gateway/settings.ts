import { networkInterfaces } from 'node:os';
import type { Config, HostPort } from '../config/config.ts';
import type { AddressPolicy, AddressPolicyOptions } from '../core/address.ts';
import type { ThreadSettings } from '../worker/messages.ts';
import type { DataThreads } from '../worker/threads.ts';
import { atOnce, type Reloadable } from './reload.ts';
import { same } from './same-config.ts';
import { configuredHosts } from './service-policies.ts';

const THREAD_MEMORY = 'gateway.limits.threadMemory';
const RAISED = ': for threads that begin from now on, those that run keep what they had';

/** What the data plane and the address policy take over from one moment to the next. */
export function dataPlaneSettings(addresses: AddressPolicy, threads: Pick<DataThreads, 'reconfigure'>): Reloadable {
  const take = (next: Config, before: Config): string[] => {
    addresses.configure(addressRules(next));
    threads.reconfigure(threadSettings(next));
    const after = settingsOf(next);
    const raised = next.gateway.limits.threadMemoryBytes > before.gateway.limits.threadMemoryBytes;
    return [...settingsOf(before)]
      .filter(([name, value]) => !same(value, after.get(name)))
      .map(([name]) => `${name} changed${name === THREAD_MEMORY && raised ? RAISED : ''}`);
  };
  return { prepare: (next, before) => atOnce(() => take(next, before)) };
}

export function threadSettings(config: Config): ThreadSettings {
  const { gateway } = config;
  return {
    gateway,
    hosts: configuredHosts(config),
    ownListeners: ownListeners(config),
    accessLog: gateway.accessLog !== 'off',
  };
}

function ownListeners(config: Config): HostPort[] {
  const own = [...config.gateway.listen, config.admin.listen];
  for (const registry of config.registries) if (registry.type === 'embedded') own.push(...registry.listen);
  return own;
}

export function addressRules(config: Config): AddressPolicyOptions {
  return {
    ...config.gateway.upstreamAddresses,
    ownListeners: ownListeners(config),
    localAddresses: () =>
      Object.values(networkInterfaces()).flatMap((each) => (each ?? []).map(({ address }) => address)),
  };
}

function settingsOf({ gateway, shutdown }: Config): ReadonlyMap<string, unknown> {
  const { limits, timeouts } = gateway;
  return new Map<string, unknown>([
    ['gateway.trustedProxies', gateway.trustedProxies],
    ['gateway.allowUnderscoreHeaders', gateway.allowUnderscoreHeaders],
    ['gateway.upstreamAddresses', gateway.upstreamAddresses],
    ['gateway.limits.headBytes', limits.headBytes],
    ['gateway.limits.headFields', limits.headFields],
    ['gateway.limits.targetBytes', limits.targetBytes],
    ['gateway.limits.connections', limits.connections],
    ['gateway.limits.requests', limits.requests],
    ['gateway.limits.bodyMinRate', limits.bodyMinBytesPerSecond],
    [THREAD_MEMORY, limits.threadMemoryBytes],
    ['gateway.timeouts.requestHead', timeouts.requestHeadMs],
    ['gateway.timeouts.keepAlive', timeouts.keepAliveMs],
    ['gateway.timeouts.bodyIdle', timeouts.bodyIdleMs],
    ['gateway.timeouts.bodyGrace', timeouts.bodyGraceMs],
    ['shutdown', shutdown],
  ]);
}
