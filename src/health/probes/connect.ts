import net, { type LookupFunction } from 'node:net';
import tls, { type SecureContext } from 'node:tls';
import { connectHandle, handlesAvailable } from '../../http1/handle-transport.ts';
import { SocketTransport } from '../../http1/socket-transport.ts';
import type { Transport, TransportSink } from '../../http1/transport.ts';
import type { ProbeAnswer, ProbeTarget } from '../probe.ts';
import { failureOf, failureOfCode } from './failure-text.ts';

export interface ConnectOptions {
  /** Resolves host names, within a deadline of its own, to addresses that may be connected to. Missing: the system's. */
  readonly lookupFor?: ((port: number) => LookupFunction) | undefined;
  /** Why nothing may connect to this IP address; asked before every connection to one, as those are not looked up. */
  readonly refuse?: ((ip: string, port: number) => string | undefined) | undefined;
  /** Forces the documented socket layer. For comparison and for tests. */
  readonly plainSockets?: boolean | undefined;
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

/** Who is told of one opening. Neither is called once it has been given up, nor before `open` has returned. */
export interface Opening {
  /** The TCP connection is there, and TLS has yet to be negotiated. */
  onConnected(): void;
  /** The last call. */
  onOpen(transport: Transport): void;
  /** The last call. */
  onFailed(failure: ProbeAnswer): void;
}

/** For a transport that nobody uses any more. */
export const DEAF: TransportSink = {
  onBytes: () => undefined,
  onEnd: () => undefined,
  onDrain: () => undefined,
  onClose: () => undefined,
};

/**
 * Opens a connection whose bytes go to `sink`: on a bare handle where the target is an IP address and TLS is not asked
 * for, which costs half as much as a socket. Returns what gives up.
 */
export function open(
  options: ConnectOptions,
  to: ProbeTarget,
  secure: TlsOptions | undefined,
  sink: TransportSink,
  opening: Opening,
): () => void {
  if (secure !== undefined || !mayBeBare(options, to)) return openSocket(options, to, secure, sink, opening);
  return connectHandle(to.host, to.port, sink, (transport, code) => {
    if (transport === undefined) opening.onFailed(failureOfCode(code ?? ''));
    else opening.onOpen(transport);
  });
}

function mayBeBare({ plainSockets, refuse }: ConnectOptions, { host, port }: ProbeTarget): boolean {
  return (
    handlesAvailable &&
    plainSockets !== true &&
    net.isIP(host) !== 0 &&
    // A handle takes every number; a socket says what is wrong with it.
    Number.isInteger(port) &&
    port > 0 &&
    port <= 65_535 &&
    refuse?.(host, port) === undefined
  );
}

function openSocket(
  options: ConnectOptions,
  to: ProbeTarget,
  secure: TlsOptions | undefined,
  sink: TransportSink,
  opening: Opening,
): () => void {
  const socket = connect(options, to, secure);
  let settled = false;
  const fail = (failure: ProbeAnswer): void => {
    if (settled) return;
    settled = true;
    socket.destroy();
    opening.onFailed(failure);
  };
  const failed = (error: Error): void => fail(failureOf(error));
  const closed = (): void => fail(CLOSED);
  socket.on('error', failed);
  socket.on('close', closed);
  if (secure !== undefined) socket.once('connect', () => !settled && opening.onConnected());
  socket.once(secure === undefined ? 'connect' : 'secureConnect', () => {
    if (settled) return;
    settled = true;
    socket.off('error', failed);
    socket.off('close', closed);
    const transport = new SocketTransport(socket, sink);
    opening.onOpen(transport);
  });
  return () => {
    settled = true;
    socket.destroy();
  };
}

const CLOSED: ProbeAnswer = { result: 'fail', text: 'connection closed' };

/** Begins to connect; everything that fails is an `error` event, never a throw, and never before this has returned. */
export function connect(options: ConnectOptions, to: ProbeTarget, secure?: TlsOptions): net.Socket {
  const refusal = net.isIP(to.host) === 0 ? undefined : options.refuse?.(to.host, to.port);
  try {
    if (refusal !== undefined) throw new RefusedAddress(refusal);
    return dial(options, to, secure);
  } catch (error) {
    return new net.Socket().destroy(error instanceof Error ? error : new Error('cannot connect', { cause: error }));
  }
}

function dial(options: ConnectOptions, to: ProbeTarget, secure: TlsOptions | undefined): net.Socket {
  const address = {
    host: to.host,
    port: to.port,
    ...(options.lookupFor === undefined ? {} : { lookup: options.lookupFor(to.port) }),
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
