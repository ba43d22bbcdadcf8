import { isIPv6 } from 'node:net';
import { addressOf, instance, type Instance, type RegisteredState } from '../../core/instance.ts';
import { isName } from '../../core/names.ts';
import { idOfAddress, shortHash } from '../address.ts';
import type { Endpoint, Slice } from './slice.ts';

/**
 * The instances of one service out of all its slices.
 *
 * An address may stand in several slices at once while the controller moves it, ready in one and not in the other:
 * readiness anywhere counts. Endpoints that are not ready are kept as `down`, so that one that becomes ready is known
 * already. Where none is ready, those that are shutting down and still serve get the traffic.
 */
export function joinSlices(service: string, slices: Iterable<Slice>): Instance[] {
  const byAddress = new Map<string, Endpoint>();
  for (const { endpoints } of slices) {
    for (const each of endpoints) {
      const address = addressOf(each);
      const known = byAddress.get(address);
      if (!known || isBetter(each, known)) byAddress.set(address, each);
    }
  }
  const inOrder = [...byAddress].sort(([one], [other]) => (one < other ? -1 : 1)).map(([, each]) => each);
  const endpoints = oneFamilyPerPod(inOrder);
  const anyReady = endpoints.some((each) => each.ready);
  const ids = new Set<string>();
  return endpoints.map((each) => {
    const id = idOf(each, ids);
    ids.add(id);
    return instance({
      id,
      service,
      host: each.host,
      port: each.port,
      secure: each.secure,
      zone: each.zone,
      metadata: metadataOf(each),
      ...stateOf(each, anyReady),
    });
  });
}

/** Decided by what they say alone: slices come in another order by a watch than by a list. */
function isBetter(one: Endpoint, other: Endpoint): boolean {
  const lead = fitness(one) - fitness(other);
  return lead === 0 ? identity(one) < identity(other) : lead > 0;
}

function fitness({ ready, serving, terminating }: Endpoint): number {
  return (ready ? 4 : 0) + (serving ? 2 : 0) + (terminating ? 0 : 1);
}

function identity({ pod, node, zone, secure }: Endpoint): string {
  return JSON.stringify([pod, node, zone, secure]);
}

function stateOf(
  { ready, serving, terminating }: Endpoint,
  anyReady: boolean,
): { readonly state: RegisteredState; readonly stateReason: string | undefined } {
  if (ready) return { state: 'up', stateReason: undefined };
  if (!anyReady && serving && terminating) {
    return {
      state: 'degraded',
      stateReason: 'terminating, but still serving, and no endpoint of the service is ready',
    };
  }
  return { state: 'down', stateReason: terminating ? 'terminating' : 'not ready' };
}

/** A dual-stack service lists every pod once by IPv4 and once by IPv6: as two instances it would count twice. */
function oneFamilyPerPod(endpoints: readonly Endpoint[]): readonly Endpoint[] {
  const overIpv4 = new Set(endpoints.flatMap(({ pod, host }) => (pod === undefined || isIPv6(host) ? [] : [pod])));
  return endpoints.filter(({ pod, host }) => pod === undefined || !isIPv6(host) || !overIpv4.has(pod));
}

function idOf({ pod, host, port }: Endpoint, taken: ReadonlySet<string>): string {
  if (pod !== undefined && isName(pod) && !taken.has(pod)) return pod;
  let id = idOfAddress(host, port);
  // A pod may be called like the address of another one.
  for (let turn = 1; taken.has(id); turn += 1) id = shortHash(`${host} ${port} ${turn}`, 32);
  return id;
}

function metadataOf({ node, pod }: Endpoint): ReadonlyMap<string, string> {
  const entries: [string, string][] = [];
  if (node !== undefined) entries.push(['node', node]);
  if (pod !== undefined) entries.push(['pod', pod]);
  return new Map(entries);
}
