import type { Config, HostPort } from '../config/config.ts';
import type { NamedSocket } from './sockets.ts';

const FIRST_FD = 3;

/**
 * The listening sockets that systemd has opened for this process, sd_listen_fds(3), each with the setting that it
 * serves: `FileDescriptorName=admin` is `admin.listen`, `registry` is the listener of the embedded registry, and all
 * others are `gateway.listen`, in the order of both files. Throws, naming the setting, where their numbers differ.
 */
export function activatedSockets(
  env: Readonly<Record<string, string | undefined>>,
  pid: number,
  config: Config,
): NamedSocket[] {
  const count = Number(env['LISTEN_FDS'] ?? 0);
  // Whoever started us may have been activated itself, and not have meant us.
  if (env['LISTEN_PID'] !== String(pid) || !Number.isInteger(count) || count <= 0) return [];
  const names = (env['LISTEN_FDNAMES'] ?? '').split(':');
  const fds = Array.from({ length: count }, (_, at) => ({ fd: FIRST_FD + at, name: names[at] ?? '' }));
  const embedded = config.registries.find(({ type }) => type === 'embedded');
  return [
    ...pair(
      'gateway.listen',
      config.gateway.listen,
      fds.filter(({ name }) => name !== 'admin' && name !== 'registry'),
    ),
    ...pair(
      'admin.listen',
      [config.admin.listen],
      fds.filter(({ name }) => name === 'admin'),
    ),
    ...pair(
      `registries.${embedded?.name ?? '(embedded)'}.listen`,
      embedded?.type === 'embedded' ? embedded.listen : [],
      fds.filter(({ name }) => name === 'registry'),
    ),
  ];
}

function pair(setting: string, addresses: readonly HostPort[], fds: readonly { readonly fd: number }[]): NamedSocket[] {
  if (fds.length === 0) return [];
  if (fds.length !== addresses.length)
    throw new Error(`systemd hands over ${fds.length} sockets for ${setting}, which names ${addresses.length}`);
  return addresses.map((address, at) => ({ setting, ...address, fd: fds[at]?.fd ?? -1, held: true }));
}
