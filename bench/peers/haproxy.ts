import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { findCommand, textOf } from '../lab/commands.ts';
import type { Peer, Site } from './peer.ts';

/** No strict limits: HAProxy counts two descriptors for each connection it may hold, and idle ones have no second. */
function config(site: Site): string {
  return `
global
  nbthread ${site.threads}
  no strict-limits
  maxconn ${site.maxConnections + 512}
defaults
  mode http
  option redispatch
  option forwardfor
  retries 2
  http-reuse always
  timeout connect 1s
  timeout client 65s
  timeout server 30s
  timeout http-request 10s
  timeout http-keep-alive 65s
frontend in
  bind 127.0.0.1:${site.port} backlog 4096
  use_backend bench if { req.hdr(host) -m beg -i bench.localhost }
backend bench
  balance random(2)
${site.originPorts.map((port, index) => `  server s${index} 127.0.0.1:${port} check inter 5s`).join('\n')}
`;
}

export const haproxy: Peer = {
  name: 'haproxy',
  version: () =>
    findCommand('haproxy') === undefined
      ? undefined
      : /version \S+/.exec(textOf(findCommand('haproxy') ?? '', '-v'))?.[0],
  launch(site) {
    const file = join(site.dir, 'haproxy.cfg');
    writeFileSync(file, config(site));
    return { command: findCommand('haproxy') ?? 'haproxy', args: ['-db', '-q', '-f', file] };
  },
};
