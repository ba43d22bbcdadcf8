/**
 * Garbage per request of whole proxies written in JavaScript, as V8 itself reports it under load:
 * `node bench/micro/garbage.ts [PEER…]`; without a name fairlead and node-undici. Goal: ≤ 1 KiB for fairlead.
 */
import { Lab } from '../lab/lab.ts';
import { fairlead } from '../peers/fairlead.ts';
import { nodeUndici } from '../peers/node-undici.ts';
import { BENCH_HOST, type Peer } from '../peers/peer.ts';

const CONNECTIONS = 64;
const WARM_UP_MS = 2000;
const DURATION_MS = 5000;
const MIB = 1_048_576;

interface Collection {
  readonly atMs: number;
  readonly isolate: string;
  readonly beforeMiB: number;
  readonly afterMiB: number;
}

/** Every collection prints a line such as `[71:0x2c3b] 1234 ms: Scavenge 20.1 (24.0) -> 12.3 (24.0) MB, …`. */
function traced(peer: Peer): Peer {
  return {
    ...peer,
    launch(site) {
      const launch = peer.launch(site);
      return launch && { ...launch, args: ['--trace-gc', ...launch.args] };
    },
  };
}

function collectionsIn(output: string): Collection[] {
  const line = /^\[\d+:(\w+)\] +(\d+) ms: .*?([\d.]+) \([\d.]+\) -> ([\d.]+) \([\d.]+\) MB/gm;
  return [...output.matchAll(line)].map(([, isolate = '', atMs, before, after]) => ({
    atMs: Number(atMs),
    isolate,
    beforeMiB: Number(before),
    afterMiB: Number(after),
  }));
}

/** Without load hardly anything is collected, so that the last ones are those of the load. */
function lastOf(collections: readonly Collection[], durationMs: number): Collection[] {
  const endMs = collections.at(-1)?.atMs ?? 0;
  return collections.filter(({ atMs }) => atMs > endMs - durationMs);
}

/** Bytes a second: what each heap grew between the end of one collection and the beginning of the next one. */
function allocationRate(collections: readonly Collection[]): number {
  let rate = 0;
  for (const own of Map.groupBy(collections, ({ isolate }) => isolate).values()) {
    const [first, last] = [own[0], own.at(-1)];
    if (!first || !last || last.atMs === first.atMs) continue;
    let grownMiB = 0;
    for (const [at, { beforeMiB }] of own.entries()) if (at > 0) grownMiB += beforeMiB - (own[at - 1]?.afterMiB ?? 0);
    rate += (grownMiB * MIB * 1000) / (last.atMs - first.atMs);
  }
  return rate;
}

async function garbagePerRequest(lab: Lab, peer: Peer): Promise<string> {
  const running = await lab.startPeer(traced(peer), 1024);
  const request = {
    port: running.port,
    host: BENCH_HOST,
    method: 'GET' as const,
    path: '/1k',
    bodyBytes: 0,
    close: false,
  };
  await lab.generators.closedLoop({ request, connections: CONNECTIONS, durationMs: WARM_UP_MS });
  const { replies, durationMs } = await lab.generators.closedLoop({
    request,
    connections: CONNECTIONS,
    durationMs: DURATION_MS,
  });
  const collections = lastOf(collectionsIn(running.output()), durationMs);
  await running.stop();
  if (collections.length < 3) return `${peer.name}: only ${collections.length} collections in ${replies} requests`;
  const bytes = allocationRate(collections) / ((replies * 1000) / durationMs);
  return `${peer.name}: ${bytes.toFixed(0)} B of garbage per request (${collections.length} collections, ${replies} requests)`;
}

const names = process.argv.slice(2);
const lab = new Lab({ raised: false });
for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => void lab.close());
try {
  for (const peer of [fairlead, nodeUndici].filter((each) => names.length === 0 || names.includes(each.name))) {
    console.log(await garbagePerRequest(lab, peer));
  }
} finally {
  await lab.close();
}
