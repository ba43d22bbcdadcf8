import type net from 'node:net';

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
  if (typeof address !== 'object' || !address || (port !== 0 && address.port !== port)) {
    server.close();
    const found = typeof address === 'object' && address ? `${address.address}:${address.port}` : 'no TCP socket';
    throw new Error(`descriptor ${fd ?? '?'} is ${found}, not ${host}:${port}`);
  }
  return { host: address.address, port: address.port, fd: descriptorOf(server) };
}

/** Undocumented, and the only way there is: without it nothing breaks but that an upgrade has to be a restart. */
function descriptorOf(server: net.Server): number | undefined {
  const fd: unknown = (server as { _handle?: { fd?: unknown } })._handle?.fd;
  return typeof fd === 'number' && fd >= 0 ? fd : undefined;
}
