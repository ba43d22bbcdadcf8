import net from 'node:net';
import { openListening } from './listening-socket.ts';

export interface SharedSocket {
  readonly port: number;
  close(): Promise<void>;
}

/** Binds a socket that lets others share its port. Rejects with the system's error. Port 0: the system chooses. */
export type BindShared = (host: string, port: number) => Promise<SharedSocket>;

/** What a platform, or one kind of address on it, answers that has no SO_REUSEPORT that spreads connections. */
const UNSUPPORTED: ReadonlySet<string> = new Set(['ENOTSUP', 'EOPNOTSUPP', 'ENOPROTOOPT', 'EINVAL', 'ENOSYS']);

/**
 * Why sockets of one process cannot share a port at this address, in the system's word for it; undefined where they
 * can. It is tried, on a port that nobody uses: libuv permits it only where the kernel spreads connections as well.
 * Whatever else is wrong with the address comes out when it is listened on.
 */
export async function whyNoSharedPort(host: string, bind: BindShared = bindShared): Promise<string | undefined> {
  let first: SharedSocket;
  try {
    first = await bind(host, 0);
  } catch (error) {
    const code = codeOf(error);
    return UNSUPPORTED.has(code) ? code : undefined;
  }
  try {
    const second = await bind(host, first.port);
    await second.close();
    return undefined;
  } catch (error) {
    const code = codeOf(error);
    // The option was taken, and changes nothing.
    return UNSUPPORTED.has(code) || code === 'EADDRINUSE' ? code : undefined;
  } finally {
    await first.close();
  }
}

const bindShared: BindShared = async (host, port) => {
  const server = net.createServer((socket) => socket.destroy());
  const listening = await openListening(server, { host, port, reusePort: true, backlog: 1 });
  return { port: listening.port, close: () => new Promise((resolve) => server.close(() => resolve())) };
};

function codeOf(error: unknown): string {
  return error instanceof Error ? ((error as NodeJS.ErrnoException).code ?? '') : '';
}
