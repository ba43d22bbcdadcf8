import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { findCommand, textOf } from '../lab/commands.ts';
import type { Peer, Site } from './peer.ts';

function config(site: Site): string {
  return `
{
  admin off
  auto_https off
  log {
    output discard
  }
}
http://bench.localhost:${site.port} {
  bind 127.0.0.1
  reverse_proxy ${site.originPorts.map((port) => `127.0.0.1:${port}`).join(' ')} {
    lb_policy random_choose 2
    lb_retries 2
    health_uri /1k
    health_interval 5s
    transport http {
      versions 1.1
      keepalive_idle_conns_per_host 64
      compression off
    }
  }
}
`;
}

export const caddy: Peer = {
  name: 'caddy',
  version: () => (findCommand('caddy') === undefined ? undefined : textOf(findCommand('caddy') ?? '', 'version')),
  launch(site) {
    const file = join(site.dir, 'Caddyfile');
    writeFileSync(file, config(site));
    return {
      command: findCommand('caddy') ?? 'caddy',
      args: ['run', '--config', file, '--adapter', 'caddyfile'],
      env: { GOMAXPROCS: '1', HOME: site.dir, XDG_DATA_HOME: site.dir, XDG_CONFIG_HOME: site.dir },
    };
  },
};
