import { lookup } from 'node:dns';
import type { LookupFunction } from 'node:net';
import { type AddressPolicy, guardedLookup } from '../core/address.ts';
import type { CreateProbe } from '../health/probe.ts';
import { TcpProbe } from '../health/probes/tcp.ts';

/** Probes connect where the address policy lets requests connect, and nowhere else. */
export function createProbeFactory({ addresses }: { readonly addresses: AddressPolicy }): CreateProbe {
  const connect = {
    lookupFor: (port: number) => guardedLookup(addresses, port, lookup as LookupFunction),
    refuse: (ip: string, port: number) => addresses.refuseAddress(ip, port),
  };
  return (target, _check, report) => new TcpProbe(connect, target, report);
}
