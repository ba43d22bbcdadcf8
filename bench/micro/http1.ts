/**
 * Cost of reading a head and finding its route: `node --expose-gc bench/micro/http1.ts`.
 * Goal: parse and route match of one request under 1.5 µs together.
 */
import { loadConfig } from '../../src/config/load.ts';
import { systemClock } from '../../src/core/clock.ts';
import { seededRandom } from '../../src/core/random.ts';
import type { HeadLimits } from '../../src/http1/head.ts';
import { RequestHead } from '../../src/http1/request-head.ts';
import { ResponseHead } from '../../src/http1/response-head.ts';
import { RouteMemo } from '../../src/proxy/route-memo.ts';
import { HostTable } from '../../src/routing/hosts.ts';
import { BreakerGate } from '../../src/breaker/gate.ts';
import { TrafficMeters } from '../../src/telemetry/traffic.ts';
import { Figures } from '../../src/upstream/figures.ts';
import { Replica } from '../../src/worker/replica.ts';
import { Routes } from '../../src/worker/routes.ts';
import { measure } from './measure.ts';

const SERVICES = 10_000;
const limits: HeadLimits = { headBytes: 32_768, headFields: 100, targetBytes: 8192 };

const requests = {
  'a load generator': ['GET /1k HTTP/1.1', 'Host: service-17.localhost'],
  curl: ['GET /1k HTTP/1.1', 'Host: service-17.localhost:8080', 'User-Agent: curl/7.88.1', 'Accept: */*'],
  'a browser': [
    'GET /orders/4711/items?page=2&sort=price HTTP/1.1',
    'Host: service-17.localhost:8080',
    'Connection: keep-alive',
    'User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36',
    'Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8',
    'Accept-Encoding: gzip, deflate, br, zstd',
    'Accept-Language: en-GB,en;q=0.9,de;q=0.8',
    'Cache-Control: max-age=0',
    'Cookie: session=0f8fad5bd9cb469fa16570867728950e; theme=dark; consent=analytics%3Dfalse',
    'Referer: http://service-17.localhost:8080/orders/4711',
    'Sec-Fetch-Dest: document',
    'Sec-Fetch-Mode: navigate',
    'Sec-Fetch-Site: same-origin',
    'Upgrade-Insecure-Requests: 1',
  ],
};
const response = [
  'HTTP/1.1 200 OK',
  'Server: nginx',
  'Date: Sat, 21 Nov 2026 00:28:00 GMT',
  'Content-Type: application/octet-stream',
  'Content-Length: 1024',
  'Connection: keep-alive',
];

function encode(lines: readonly string[]): Buffer {
  return Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1');
}

/** As a data-plane thread has them: half of the services at a host name of their own, all of them under the domain. */
function router(): Routes {
  const loaded = loadConfig('', { file: 'defaults', env: {} });
  if (!loaded.ok) throw new Error(loaded.issues[0]?.message ?? 'the defaults are not valid');
  const clock = systemClock;
  const figures = new Figures(16);
  const names = Array.from({ length: SERVICES }, (_, at) => `service-${at}`);
  const hosts = names.slice(SERVICES / 2).map((name): readonly [string, string] => [`${name}.example.com`, name]);
  const silent = { failed: () => undefined, trialTaken: () => undefined, trialEnded: () => undefined };
  const replica = new Replica({
    figures,
    gate: new BreakerGate(figures.breakers, clock, 1, silent),
    random: seededRandom(1),
    hosts: new HostTable(hosts, 'localhost'),
    onFreed: () => undefined,
    onDropped: () => undefined,
  });
  replica.apply({
    through: 1,
    freed: [],
    dropped: [],
    policies: [[1, loaded.config.defaultPolicy]],
    forgotten: [],
    services: names.map((name, index) => ({ index, name, row: 2, policy: 1 })),
    members: { slots: [], services: [], ids: [], hosts: [], ports: [], secure: [] },
    views: [],
  });
  return new Routes({ replica, meters: new TrafficMeters({ services: 4 }), clock, threads: 1 });
}

function parse(head: RequestHead, buffer: Buffer): void {
  if (head.parse(buffer, 0, buffer.length, limits) <= 0) throw new Error(`refused: ${head.refusal?.detail ?? ''}`);
}

const head = new RequestHead();
const routes = router();
for (const [name, lines] of Object.entries(requests)) {
  const buffer = encode(lines);
  await measure(`request head of ${name} (${buffer.length} B)`, () => parse(head, buffer));
  const memo = new RouteMemo(routes);
  await measure(`  and its route among ${SERVICES} services, the same host as before`, () => {
    parse(head, buffer);
    if (!memo.find(head, buffer)) throw new Error('no route');
  });
  await measure(`  and its route among ${SERVICES} services, another host than before`, () => {
    parse(head, buffer);
    memo.forget();
    if (!memo.find(head, buffer)) throw new Error('no route');
  });
}

const responseHead = new ResponseHead();
const responseBuffer = encode(response);
await measure(`response head (${responseBuffer.length} B)`, () => {
  if (responseHead.parse(responseBuffer, 0, responseBuffer.length, limits, false) <= 0) throw new Error('refused');
});
