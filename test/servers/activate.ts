/**
 * Starts a gateway as systemd does: sockets that listen already as descriptors 3 and up, named in the environment.
 * `node test/servers/activate.ts "PORT ADMIN_PORT REGISTRY_PORT" CONFIG`. A shell says its own id in LISTEN_PID, and
 * then becomes the gateway.
 */
import { spawn } from 'node:child_process';
import net from 'node:net';

const [ports = '', config = ''] = process.argv.slice(2);
const servers = await Promise.all(
  ports.split(' ').map(async (port) => {
    const server = net.createServer();
    await new Promise<void>((resolve, reject) =>
      server.once('error', reject).listen(Number(port), '127.0.0.1', resolve),
    );
    return server;
  }),
);
const fds = servers.map((server) => (server as unknown as { _handle: { fd: number } })._handle.fd);
const child = spawn(
  '/bin/sh',
  ['-c', 'LISTEN_PID=$$ exec "$0" "$@"', process.execPath, 'bin/fairlead.js', 'run', '-c', config],
  {
    env: { ...process.env, LISTEN_FDS: String(fds.length), LISTEN_FDNAMES: 'fairlead.socket:admin:registry' },
    stdio: ['ignore', 'inherit', 'inherit', ...fds],
  },
);
// Only the gateway accepts.
for (const server of servers) server.close();
process.on('SIGTERM', () => child.kill('SIGTERM'));
child.once('exit', (code) => process.exit(code ?? 1));
