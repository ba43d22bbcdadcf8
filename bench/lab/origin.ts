import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Children } from './children.ts';
import { untilReady } from './children.ts';
import { findCommand } from './commands.ts';
import { getOnce } from './get-once.ts';
import { freePorts } from './ports.ts';

const READY_TIMEOUT_MS = 10_000;
/** As many upstream instances as every proxy has. */
export const ORIGIN_INSTANCES = 4;

/** What the origin serves; the names are paths. */
export const payloadBytes: Readonly<Record<string, number>> = {
  '/1k': 1024,
  '/64k': 65_536,
  '/1m': 1_048_576,
  '/post': 2,
};

export interface Origin {
  /** One for each instance; all lead to the same process. */
  readonly ports: readonly number[];
}

/**
 * One nginx behind all proxies, as cheap as an origin can be, so that on two cores the proxy is what fills its core:
 * 1 KiB from the configuration itself, larger bodies from cached files. `/post` answers only after the whole body has
 * come (nginx answers at once otherwise, and a proxy may treat an early answer specially). `/echo` shows what the
 * origin was sent.
 */
export async function startOrigin(children: Children, dir: string): Promise<Origin> {
  const command = findCommand('nginx');
  if (command === undefined)
    throw new Error('nginx is not installed: it is the origin of every scenario (Debian: nginx-light)');
  const [bodySink = 0, ...ports] = await freePorts(ORIGIN_INSTANCES + 1);
  mkdirSync(dir, { recursive: true });
  for (const path of ['/64k', '/1m']) writeFileSync(join(dir, path), 'x'.repeat(payloadBytes[path] ?? 0));
  const config = join(dir, 'origin.conf');
  writeFileSync(config, originConfig(dir, ports, bodySink));
  const args = ['-p', dir, '-c', config, '-e', 'stderr'];
  const child = children.start({ name: 'origin', command, args, role: 'origin' });
  const first = ports[0] ?? 0;
  await untilReady(child, async () => (await getOnce(first, '/1k')).status === 200, READY_TIMEOUT_MS);
  return { ports };
}

function originConfig(dir: string, ports: readonly number[], bodySink: number): string {
  return `
daemon off;
master_process off;
pid ${dir}/origin.pid;
error_log stderr crit;
worker_rlimit_nofile 16384;
events { worker_connections 8192; }
http {
  access_log off;
  server_tokens off;
  default_type application/octet-stream;
  keepalive_timeout 300s;
  keepalive_requests 1000000000;
  sendfile on;
  tcp_nopush on;
  tcp_nodelay on;
  open_file_cache max=16 inactive=1h;
  open_file_cache_valid 1h;
  client_body_buffer_size 1m;
  client_max_body_size 16m;
  client_body_temp_path ${dir}/body;
  proxy_temp_path ${dir}/proxy;
  fastcgi_temp_path ${dir}/fastcgi;
  uwsgi_temp_path ${dir}/uwsgi;
  scgi_temp_path ${dir}/scgi;
  upstream sink { server 127.0.0.1:${bodySink}; keepalive 64; keepalive_requests 1000000000; }
  server {
    listen 127.0.0.1:${bodySink};
    return 200 "ok";
  }
  server {
${ports.map((port) => `    listen 127.0.0.1:${port};`).join('\n')}
    root ${dir};
    location = /1k { return 200 "${'x'.repeat(1024)}"; }
    location = /echo { return 200 "$http_x_forwarded_for $http_host $http_connection"; }
    location = /post {
      proxy_pass http://sink;
      proxy_http_version 1.1;
      proxy_pass_request_body off;
      proxy_set_header Content-Length "";
      proxy_set_header Connection "";
    }
  }
}
`;
}
