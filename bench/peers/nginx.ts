import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { findCommand, textOf } from '../lab/commands.ts';
import type { Peer, Site } from './peer.ts';

/** `keepalive_requests` defaults to 1000 on both sides: a reconnect every thousand requests would be no peer's fault. */
function config(site: Site): string {
  const { dir } = site;
  return `
daemon off;
worker_processes ${site.threads};
pid ${dir}/nginx.pid;
error_log stderr crit;
worker_rlimit_nofile 20000;
events { worker_connections ${site.maxConnections + 1024}; }
http {
  access_log off;
  keepalive_timeout 65s;
  keepalive_requests 1000000000;
  client_body_buffer_size 64k;
  client_body_temp_path ${dir}/body;
  proxy_temp_path ${dir}/proxy;
  fastcgi_temp_path ${dir}/fastcgi;
  uwsgi_temp_path ${dir}/uwsgi;
  scgi_temp_path ${dir}/scgi;
  upstream bench {
    zone bench 64k;
    random two least_conn;
${site.originPorts.map((port) => `    server 127.0.0.1:${port};`).join('\n')}
    keepalive 64;
    keepalive_requests 1000000000;
  }
  server {
    listen 127.0.0.1:${site.port} backlog=4096;
    server_name bench.localhost;
    location / {
      proxy_pass http://bench;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_max_temp_file_size 0;
      proxy_next_upstream_tries 3;
    }
  }
}
`;
}

export const nginx: Peer = {
  name: 'nginx',
  version: () =>
    findCommand('nginx') === undefined
      ? undefined
      : textOf(findCommand('nginx') ?? '', '-v').replace('nginx version: ', ''),
  launch(site) {
    const file = join(site.dir, 'nginx.conf');
    writeFileSync(file, config(site));
    return { command: findCommand('nginx') ?? 'nginx', args: ['-p', site.dir, '-c', file, '-e', 'stderr'] };
  },
};
