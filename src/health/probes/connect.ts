import net, { type LookupFunction, type OnReadOpts } from 'node:net';
import tls, { type SecureContext } from 'node:tls';
import type { ProbeTarget } from '../probe.ts';

export interface ConnectOptions {
  /** Resolves host names, within a deadline of its own, to addresses that may be connected to. Missing: the system's. */
  readonly lookupFor?: ((port: number) => LookupFunction) | undefined;
  /** Why nothing may connect to this IP address; asked before every connection to one, as those are not looked up. */
  readonly refuse?: ((ip: string, port: number) => string | undefined) | undefined;
}

/** How to speak TLS to one target. */
export interface TlsOptions {
  readonly context: SecureContext;
  /** The name the certificate must be valid for, and the server name indication unless it is an IP address. */
  readonly name: string;
  readonly verify: boolean;
  readonly protocol: string;
}

class RefusedAddress extends Error {
  readonly code = 'ERR_ADDRESS_REFUSED';
}

/** Begins to connect; everything that fails is an `error` event, never a throw, and never before this has returned. */
export function connect(
  options: ConnectOptions,
  to: ProbeTarget,
  secure?: TlsOptions,
  onread?: OnReadOpts,
): net.Socket {
  const refusal = net.isIP(to.host) === 0 ? undefined : options.refuse?.(to.host, to.port);
  try {
    if (refusal !== undefined) throw new RefusedAddress(refusal);
    return dial(options, to, secure, onread);
  } catch (error) {
    return new net.Socket().destroy(error instanceof Error ? error : new Error('cannot connect', { cause: error }));
  }
}

function dial(
  options: ConnectOptions,
  to: ProbeTarget,
  secure: TlsOptions | undefined,
  onread: OnReadOpts | undefined,
): net.Socket {
  const address = {
    host: to.host,
    port: to.port,
    ...(options.lookupFor === undefined ? {} : { lookup: options.lookupFor(to.port) }),
    ...(onread === undefined ? {} : { onread }),
  };
  if (secure === undefined) return net.connect(address);
  const { context, name, verify, protocol } = secure;
  return tls.connect({
    ...address,
    secureContext: context,
    // An IP address is no server name (RFC 6066 section 3), and yet what the certificate must be valid for.
    servername: net.isIP(name) === 0 ? name : '',
    checkServerIdentity: (_host, certificate) => tls.checkServerIdentity(name, certificate),
    rejectUnauthorized: verify,
    ALPNProtocols: [protocol],
  });
}

/** `host:port` without the port, and without the brackets of IPv6. */
export function hostNameOf(authority: string): string {
  const bracketed = /^\[([^\]]*)\](?::\d+)?$/.exec(authority);
  return bracketed?.[1] ?? authority.replace(/:\d+$/, '');
}
