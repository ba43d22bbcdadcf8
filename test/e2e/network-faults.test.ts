import { readFile } from 'node:fs/promises';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { Host, whyNoLossyLine, whyNoNamespaces } from '../servers/netns.ts';
import { Crowd } from './crowd.ts';
import { GatewayProcess, pause, type Tally, Traffic } from './world.ts';

const stops: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0).reverse()) await stop();
});

const long = process.env['FAIRLEAD_LONG'] === '1';
vi.setConfig({ testTimeout: long ? 300_000 : 60_000 });

const PER_SECOND = 300;
const noNamespaces = whyNoNamespaces();
const noLossyLine = whyNoLossyLine();
const orWhyNot = (why: string | undefined): string => (why === undefined ? '' : ` (cannot be had: ${why})`);

/** Three instances on this host, and the one that will fail: `victim`, a process of its own. */
async function fourInstances(
  options: { extra?: string; host?: Host } = {},
): Promise<{ gateway: GatewayProcess; victim: Crowd; traffic: Traffic }> {
  const gateway = await GatewayProcess.start({ extra: options.extra ?? '' });
  stops.push(() => gateway.stop());
  const peers = await Crowd.start({ count: 3, medianMs: 5 });
  stops.push(() => peers.kill());
  const { host } = options;
  const victim = await Crowd.start(
    { count: 1, name: 'victim', medianMs: 5, ...(host ? { host: host.address } : {}) },
    host?.through,
  );
  stops.push(() => victim.kill());
  await peers.register(gateway);
  await victim.register(gateway);
  await gateway.serving('web', 4);
  const traffic = new Traffic(gateway, { perSecond: PER_SECOND });
  await pause(1000);
  return { gateway, victim, traffic };
}

async function host(options: { lossy?: boolean } = {}): Promise<Host> {
  const made = await Host.create(options);
  stops.push(() => made.remove());
  return made;
}

/** How long until three of the four take traffic. */
async function outAfterMs(gateway: GatewayProcess, sinceMs: number): Promise<number> {
  await gateway.serving('web', 3);
  return performance.now() - sinceMs;
}

const failedGets = (tally: Tally): Tally['failures'] =>
  tally.failures.filter(({ method }) => method === 'GET').slice(0, 5);

interface Logged {
  readonly time: string;
  readonly method: string;
  readonly status: number;
  readonly attempts: number;
  readonly durationMs: number;
}

async function accessLog(gateway: GatewayProcess): Promise<Logged[]> {
  const lines = (await readFile(gateway.accessLog, 'utf8')).trimEnd().split('\n');
  return lines.map((line) => JSON.parse(line) as Logged);
}

interface Event {
  readonly wall: number;
  readonly kind: string;
  readonly instance?: string;
  readonly from?: string;
  readonly to: string;
  readonly cause: string;
}

/** What has happened to the instance at this address since `afterMs` by the wall clock. */
async function eventsOf(gateway: GatewayProcess, address: string, afterMs: number): Promise<Event[]> {
  const { instances } = await gateway.explain('web');
  const id = instances.find((instance) => instance.address === address)?.id;
  const { events } = (await (await fetch(`${gateway.admin}/api/events?service=web`)).json()) as { events: Event[] };
  return events.filter(({ instance, wall }) => instance === id && wall >= afterMs);
}

/** How often an instance that served at first came into the rotation or left it. A trial is neither. */
function transitions(events: readonly Event[]): number {
  const gates = new Map<string, string>();
  let served = true;
  let changes = 0;
  for (const { kind, to } of events) {
    gates.set(kind, to);
    const held = gates.get('probe') === 'failing' || gates.get('ejection') === 'ejected';
    const serves = !held && (gates.get('breaker') ?? 'closed') === 'closed';
    if (serves !== served) changes++;
    served = serves;
  }
  return changes;
}

describe('under 300 requests a second on four instances, with default settings', () => {
  it('SIGSTOP of one takes it out within 3 s and fails no GET', async () => {
    const { gateway, victim, traffic } = await fourInstances();
    const stoppedAt = performance.now();
    victim.signal('SIGSTOP');
    const outMs = await outAfterMs(gateway, stoppedAt);
    await pause(2000);
    victim.signal('SIGCONT');
    const tally = await traffic.stop();
    console.log(`SIGSTOP: out after ${Math.round(outMs)} ms, slowest answer ${Math.round(tally.slowestMs)} ms`);
    expect(failedGets(tally)).toEqual([]);
    expect(outMs).toBeLessThanOrEqual(3000);
  });

  it('kill -9 of one fails no GET, and nothing is sent its way later than 5 ms after', async () => {
    const { gateway, victim, traffic } = await fourInstances();
    const sentTo = (): Promise<number> =>
      gateway.metric('fairlead_instance_requests_total', `instance="web-127.0.0.1-${victim.ports[0]}"`);
    victim.signal('SIGKILL');
    await victim.exited;
    const goneAtMs = Date.now();
    await pause(5);
    const before = await sentTo();
    expect(before).toBeGreaterThan(50);
    // Past the first time at which a breaker would let a trial through.
    await pause(6500);
    const after = await sentTo();
    const tally = await traffic.stop();
    // A request with a second attempt had its first one at the dead instance: the others answer.
    const later = (await accessLog(gateway)).filter(
      ({ time, attempts }) => attempts > 1 && Date.parse(time) > goneAtMs + 5,
    );
    console.log(
      `kill -9: ${later.length} requests sent its way later than 5 ms after, the last ` +
        `${later.length === 0 ? '-' : Date.parse(later.at(-1)!.time) - goneAtMs} ms after; by its counter ${after - before}`,
    );
    expect(failedGets(tally)).toEqual([]);
    expect(later).toEqual([]);
  });

  it.skipIf(noNamespaces !== undefined)(
    `a black hole in the way to one takes it out within 3 s and fails no GET${orWhyNot(noNamespaces)}`,
    async () => {
      const far = await host();
      const { gateway, traffic } = await fourInstances({ host: far });
      const lostAt = performance.now();
      far.blackHole();
      const outMs = await outAfterMs(gateway, lostAt);
      await pause(2500);
      far.heal();
      const tally = await traffic.stop();
      console.log(`black hole: out after ${Math.round(outMs)} ms, slowest answer ${Math.round(tally.slowestMs)} ms`);
      expect(failedGets(tally)).toEqual([]);
      expect(outMs).toBeLessThanOrEqual(3000);
    },
  );

  it.skipIf(noLossyLine !== undefined)(
    `10 % packet loss with 100 ± 50 ms delay each way to one fails no GET, and it does not flap${orWhyNot(noLossyLine)}`,
    async () => {
      const far = await host({ lossy: true });
      const { gateway, victim, traffic } = await fourInstances({ host: far });
      const minutes = long ? 3 : 0.2;
      const sinceMs = Date.now();
      const answeredBefore = traffic.tally.byInstance.get('victim0') ?? 0;
      far.impair({ delayMs: 100, jitterMs: 50, loss: 0.1 });
      await pause(minutes * 60_000);
      const happened = await eventsOf(gateway, `${far.address}:${victim.ports[0]}`, sinceMs);
      const answered = (traffic.tally.byInstance.get('victim0') ?? 0) - answeredBefore;
      far.impair({ delayMs: 0, jitterMs: 0, loss: 0 });
      const tally = await traffic.stop();
      console.log(
        `10 % loss, 100 ± 50 ms, ${minutes} min: ${transitions(happened)} transitions, ` +
          `it answered ${answered}, slowest answer ${Math.round(tally.slowestMs)} ms`,
        happened.map(({ kind, to, cause }) => `${kind} ${to}: ${cause}`),
      );
      expect(failedGets(tally)).toEqual([]);
      expect(transitions(happened)).toBeLessThanOrEqual(Math.max(1, minutes));
      // It is used, and no better than it is.
      expect(answered).toBeGreaterThan(0);
    },
  );
});

describe('an error sinkhole', () => {
  it('that answers 500 at once fails at most 20 requests in 60 s where 500 counts as failure', async () => {
    // In CI the times of the breaker and that of the test are a fifth: as many trials.
    const scale = long ? 1 : 5;
    const { gateway, victim, traffic } = await fourInstances({
      extra:
        'defaults: { breaker: { failureStatuses: [500, 502, 503, 504], ' +
        `open: ${5000 / scale}ms, maxOpen: ${60_000 / scale}ms, window: ${10_000 / scale}ms } }`,
    });
    victim.behave(0, { status: 500, delayMs: 0 });
    await pause(60_000 / scale);
    const tally = await traffic.stop();
    const served = (await victim.report()).instances[0]?.servedAtMs.length;
    console.log(`sinkhole: ${tally.failures.length} of ${tally.sent} requests failed; it has served ${served} in all`);
    expect(tally.failures.length).toBeGreaterThan(0);
    expect(tally.failures.length).toBeLessThanOrEqual(20);
    await gateway.serving('web', 3);
  });
});
