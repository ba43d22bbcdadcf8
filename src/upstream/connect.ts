import net from 'node:net';
import type { LookupFunction } from 'node:net';
import { type AddressPolicy, guardedLookup } from '../core/address.ts';
import type { Instance } from '../core/instance.ts';
import { connectHandle, handlesAvailable } from '../http1/handle-transport.ts';
import { connectSocket } from '../http1/socket-transport.ts';
import type { Transport, TransportSink } from '../http1/transport.ts';

/**
 * Opens a connection to an instance. `done` is called exactly once, never before this returns: with a transport whose
 * sink is `sink`, or with why there is none (an errno name, or `ERR_ADDRESS_REFUSED` by address policy). The returned function
 * gives up, and `done` is not called any more.
 */
export type Connect = (
  instance: Instance,
  sink: TransportSink,
  done: (transport: Transport | undefined, code: string | undefined) => void,
) => () => void;

export interface ConnectorOptions {
  /** What may be connected to; asked about the very address that is connected to. */
  readonly addresses: AddressPolicy;
  /** Resolves names. What it finds is checked before it is used. */
  readonly lookup: LookupFunction;
  /** Forces the documented socket layer. For comparison and for tests. */
  readonly plainSockets?: boolean;
}

export function connector({ addresses, lookup, plainSockets }: ConnectorOptions): Connect {
  const open = (
    instance: Instance,
    address: string,
    sink: TransportSink,
    done: (transport: Transport | undefined, code: string | undefined) => void,
  ): (() => void) => {
    if (handlesAvailable && !instance.secure && !plainSockets) return connectHandle(address, instance.port, sink, done);
    const name = net.isIP(instance.host) ? undefined : instance.host;
    const tls = instance.secure
      ? { ALPNProtocols: ['http/1.1'], ...(name === undefined ? {} : { servername: name }) }
      : undefined;
    return connectSocket({ address, port: instance.port, tls }, sink, done);
  };
  return (instance, sink, done) => {
    if (net.isIP(instance.host)) {
      if (addresses.refuseAddress(instance.host, instance.port) === undefined)
        return open(instance, instance.host, sink, done);
      return refuse(done);
    }
    let abandoned = false;
    let cancel = (): void => {
      abandoned = true;
    };
    guardedLookup(addresses, instance.port, lookup)(instance.host, {}, (error, address) => {
      if (abandoned) return;
      const found = Array.isArray(address) ? address[0]?.address : address;
      if (error ?? !found) {
        done(undefined, error?.code ?? 'ENOTFOUND');
        return;
      }
      cancel = open(instance, found, sink, done);
    });
    return () => {
      cancel();
    };
  };
}

function refuse(done: (transport: undefined, code: string) => void): () => void {
  let abandoned = false;
  queueMicrotask(() => {
    if (!abandoned) done(undefined, 'ERR_ADDRESS_REFUSED');
  });
  return () => {
    abandoned = true;
  };
}
