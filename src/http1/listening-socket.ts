import net from 'node:net';

export interface ListeningPlace {
  readonly host: string;
  /** 0: the system chooses. */
  readonly port: number;
  /**
   * A socket that listens already, at this very address: inherited from a predecessor or from systemd. It is owned by
   * the server from then on.
   */
  readonly fd?: number | undefined;
  readonly reusePort?: boolean;
  readonly backlog?: number;
}

export interface ListeningSocket {
  readonly host: string;
  readonly port: number;
  /** To be passed on to a successor while the server is open; undefined where this Node does not tell. */
  readonly fd: number | undefined;
}

/**
 * Makes a server listen. Rejects with the system's error, or with one that says that an inherited socket is another
 * than the one asked for.
 */
export async function openListening(server: net.Server, place: ListeningPlace): Promise<ListeningSocket> {
  const { host, port, fd, reusePort = false, backlog = 4096 } = place;
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    const opened = (): void => {
      server.removeListener('error', reject);
      resolve();
    };
    if (fd === undefined) server.listen({ host, port, backlog, reusePort, exclusive: true }, opened);
    else server.listen({ fd, backlog, exclusive: true }, opened);
  });
  const address = server.address();
  const found = typeof address === 'object' && address ? { host: address.address, port: address.port } : undefined;
  const mistake = fd === undefined ? undefined : mistakeOf(fd, found, { host, port });
  if (typeof address !== 'object' || !address || mistake !== undefined) {
    server.close();
    throw new Error(mistake ?? `${host}:${port} has no address`);
  }
  return { host: address.address, port: address.port, fd: descriptorOf(server) };
}

/** Why `openListening` rejected, for people, with the system's own word at its end. */
export function whyNotListening(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const { code, message } = error as NodeJS.ErrnoException;
  const words = code === undefined ? undefined : WORDS.get(code);
  return words === undefined ? (code ?? message) : `${words} (${code ?? ''})`;
}

const WORDS: ReadonlyMap<string, string> = new Map([
  ['EADDRINUSE', 'another process listens there already'],
  ['EADDRNOTAVAIL', 'this machine has no such address'],
  ['EACCES', 'this user may not listen there; ports below 1024 need the capability CAP_NET_BIND_SERVICE'],
  ['ENOTFOUND', 'the name has no address'],
]);

interface Place {
  readonly host: string;
  readonly port: number;
}

/**
 * What is wrong with an inherited socket; undefined where it is the one asked for. A wider address would let in whom the
 * configuration keeps out. Names and port 0 stand for any.
 */
export function mistakeOf(fd: number, found: Place | undefined, wanted: Place): string | undefined {
  const asked = `${wanted.host}:${wanted.port}`;
  if (!found || net.isIP(found.host) === 0) return `descriptor ${fd} is no TCP socket, and not ${asked}`;
  const right = (wanted.port === 0 || found.port === wanted.port) && isSameHost(found.host, wanted.host);
  return right ? undefined : `descriptor ${fd} is ${found.host}:${found.port}, not ${asked}`;
}

/** IPv6 addresses are written in more than one way. */
function isSameHost(found: string, wanted: string): boolean {
  const family = net.isIP(wanted);
  if (family === 0) return true;
  if (net.isIP(found) !== family) return false;
  const name = family === 6 ? 'ipv6' : 'ipv4';
  const one = new net.BlockList();
  one.addAddress(wanted, name);
  return one.check(found, name);
}

/** Undocumented, and the only way there is: without it nothing breaks but that an upgrade has to be a restart. */
function descriptorOf(server: net.Server): number | undefined {
  const fd: unknown = (server as { _handle?: { fd?: unknown } })._handle?.fd;
  return typeof fd === 'number' && fd >= 0 ? fd : undefined;
}
