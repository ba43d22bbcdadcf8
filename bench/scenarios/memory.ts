import { setTimeout as pause } from 'node:timers/promises';
import { startTargets } from '../lab/crowd.ts';
import type { Lab, RunningPeer } from '../lab/lab.ts';
import { readMetrics } from '../lab/metrics.ts';
import { residentBytes } from '../lab/proc.ts';
import { crowded, type CrowdedSite } from '../peers/crowded.ts';
import type { Case, Figures, Scenario, Settings, Turn } from './scenario.ts';

const INSTANCES = 100_000;
const PER_SERVICE = 10;
const SERVICE = 'service';
const MAX_CONNECTIONS = 1024;
const THREADS = 2;
const MB = 1e6;
const REGISTER_CONNECTIONS = 32;
/** All are registered, probed and taking traffic; on a machine that has other work. */
const READY_TIMEOUT_MS = 180_000;
const WEIGH_TIMEOUT_MS = 20_000;
const POLL_MS = 500;
/** First probes have made room for the second ones, and the last update is applied. */
const SETTLE_MS = 2000;
/** TCP, as by default; less often, because 20,000 a second would be a scenario of their own. */
const HEALTH = '{ type: tcp, interval: 60s }';

interface Source {
  readonly name: string;
  readonly embedded?: true;
  /** YAML of `defaults.health`. */
  readonly health: string;
}

/** The first says what the checks hold, by what it lacks of the second. */
const SOURCES: readonly [Source, ...Source[]] = [
  { name: 'from a file, never checked', health: '[]' },
  { name: 'from a file', health: HEALTH },
  { name: 'from the embedded registry', health: HEALTH, embedded: true },
];

const wanted = ({ instances = INSTANCES }: Settings): number => Math.ceil(instances / PER_SERVICE) * PER_SERVICE;

interface Weight {
  /** Of the control thread after a collection, and of each data-plane thread: heap and buffers, in bytes. */
  readonly control: number;
  readonly data: readonly number[];
  readonly resident: number;
}

async function weigh(peer: RunningPeer): Promise<Weight> {
  const [pid = 0] = peer.processes();
  const said = (): string[] => peer.output().match(/^\{"control":.*\}$/gm) ?? [];
  const before = said().length;
  process.kill(pid, 'SIGUSR2');
  const endMs = performance.now() + WEIGH_TIMEOUT_MS;
  while (said().length === before) {
    if (performance.now() > endMs) throw new Error(`not all threads said what they hold\n${peer.output()}`);
    await pause(POLL_MS / 10);
  }
  const weight = JSON.parse(said().at(-1) ?? '') as Omit<Weight, 'resident'>;
  return { ...weight, resident: residentBytes([pid]) };
}

async function available({ adminPort }: CrowdedSite, count: number): Promise<void> {
  const endMs = performance.now() + READY_TIMEOUT_MS;
  let last = 0;
  while (performance.now() < endMs) {
    last = (await readMetrics(adminPort)).sum('fairlead_instances', 'state="available"');
    if (last >= count) return;
    await pause(POLL_MS);
  }
  throw new Error(`only ${last} of ${count} instances became available`);
}

const serviceNames = (count: number): string[] =>
  Array.from({ length: count / PER_SERVICE }, (_, at) => `${SERVICE}-${at}`);

/** Ten instances in each service, all of them addresses of 127/8 that lead to one process. */
function inFile(count: number, port: number): ReadonlyMap<string, readonly string[]> {
  const address = (at: number): string => `127.${1 + (at >>> 16)}.${(at >>> 8) & 255}.${at & 255}:${port}`;
  return new Map(
    serviceNames(count).map((name, service) => [
      name,
      Array.from({ length: PER_SERVICE }, (_, at) => address(service * PER_SERVICE + at)),
    ]),
  );
}

async function register(lab: Lab, { registryPort }: CrowdedSite, count: number, instancePort: number): Promise<void> {
  const registering = await lab.generators.churn(
    {
      kind: 'none',
      service: SERVICE,
      services: count / PER_SERVICE,
      instances: count,
      instancePort,
      port: registryPort,
      callsPerS: 0,
      connections: REGISTER_CONNECTIONS,
      leave: true,
    },
    READY_TIMEOUT_MS,
  );
  const { failed } = await registering.close();
  if (failed > 0) throw new Error(`${failed} of ${count} registrations failed`);
}

/** The same gateway, without and with all the instances; two processes, since memory once used is not given back. */
async function weights(lab: Lab, source: Source, count: number): Promise<{ readonly idle: Weight; full: Weight }> {
  const targets = await startTargets(lab, { hosts: ['0.0.0.0'], portsEach: 1, bodyBytes: 0, close: true });
  const port = targets.ports[0] ?? 0;
  const { health, embedded } = source;
  const site = { health, weighed: true, ...(embedded && { embedded }) } as const;
  const empty = crowded({ ...site, services: new Map() });
  const idlePeer = await lab.startPeer(empty.peer, MAX_CONNECTIONS);
  await pause(SETTLE_MS);
  const idle = await weigh(idlePeer);
  await idlePeer.stop();

  const services = embedded ? new Map<string, string[]>() : inFile(count, port);
  const crowd = crowded({ ...site, services });
  const peer = await lab.startPeer(crowd.peer, MAX_CONNECTIONS);
  if (embedded) await register(lab, crowd.site, count, port);
  await available(crowd.site, count);
  await pause(SETTLE_MS);
  const full = await weigh(peer);
  await peer.stop();
  await targets.child.stop();
  return { idle, full };
}

export const memory: Scenario = {
  name: 's6',
  title: 'Memory of the gateway for 10,000 services with 100,000 instances, above what it has without',
  columns: [
    { key: 'control', header: 'control side', unit: 'MB', decimals: 1 },
    { key: 'thread', header: 'each data thread', unit: 'MB', decimals: 1 },
    { key: 'resident', header: 'whole process, resident', unit: 'MB', decimals: 0 },
    { key: 'idle', header: 'of a process without', unit: 'MB', decimals: 0 },
  ],
  goals: [
    { column: 'control', atMost: 100 },
    { column: 'thread', atMost: 30 },
  ],
  freshPeers: false,
  without: ['direct', 'haproxy', 'nginx', 'caddy', 'node-undici'],
  maxConnections: MAX_CONNECTIONS,
  threads: THREADS,
  cases: (settings): Case[] =>
    SOURCES.map(({ name }) => ({ name: `${wanted(settings)} instances ${name}`, payloadBytes: 0, connections: 0 })),
  async measure({ lab, caseIndex, settings }: Turn): Promise<Figures> {
    const { idle, full } = await weights(lab, SOURCES[caseIndex] ?? SOURCES[0], wanted(settings));
    const heaviest = ({ data }: Weight): number => Math.max(...data);
    return {
      control: (full.control - idle.control) / MB,
      thread: (heaviest(full) - heaviest(idle)) / MB,
      resident: (full.resident - idle.resident) / MB,
      idle: idle.resident / MB,
    };
  },
};
