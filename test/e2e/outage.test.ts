import { afterEach, describe, expect, it, vi } from 'vitest';
import { Crowd, sharedNowMs } from './crowd.ts';
import { GatewayProcess, pause, Traffic } from './world.ts';

const stops: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0).reverse()) await stop();
});

const long = process.env['FAIRLEAD_LONG'] === '1';
vi.setConfig({ testTimeout: long ? 200_000 : 60_000 });

const PER_SECOND = 300;
const OUTAGE_MS = long ? 60_000 : 6000;
/** Long enough for a budget of retries to be as full as it gets. */
const WARM_UP_MS = 4000;
/** What is promised to be whole after the return, and a little. */
const AFTER_MS = 5500;
/** Of requests and attempts, so often. */
const SAMPLE_MS = 250;

interface Sample {
  readonly atMs: number;
  /** Sent by the clients. */
  readonly requests: number;
  /** Begun by the gateway. */
  readonly attempts: number;
}

/** Counts of clients and gateway side by side, until it is stopped. */
class Counts {
  readonly samples: Sample[] = [];
  readonly #gateway: GatewayProcess;
  readonly #traffic: Traffic;
  readonly #done: Promise<void>;
  #running = true;

  constructor(gateway: GatewayProcess, traffic: Traffic) {
    this.#gateway = gateway;
    this.#traffic = traffic;
    this.#done = this.#run();
  }

  async #run(): Promise<void> {
    while (this.#running) {
      const attempts = await this.#gateway.metric('fairlead_instance_requests_total', 'service="web"');
      this.samples.push({ atMs: sharedNowMs(), requests: this.#traffic.tally.sent, attempts });
      await pause(SAMPLE_MS);
    }
  }

  async stop(): Promise<readonly Sample[]> {
    this.#running = false;
    await this.#done;
    return this.samples;
  }
}

/** The worst ratio of attempts to requests over any stretch of samples that is at least so long. */
function worstRatio(samples: readonly Sample[], overMs: number): number {
  let worst = 0;
  samples.forEach((from, at) => {
    const to = samples.slice(at).find(({ atMs }) => atMs - from.atMs >= overMs);
    if (to) worst = Math.max(worst, (to.attempts - from.attempts) / (to.requests - from.requests));
  });
  return worst;
}

/** The highest that the ratio of all attempts to all requests until then ever was. */
function highestRatio(samples: readonly Sample[]): number {
  return Math.max(...samples.map(({ requests, attempts }) => attempts / Math.max(1, requests)));
}

/** The most of these times that fall into any stretch of `withinMs`. */
function most(times: readonly number[], withinMs: number): number {
  let from = 0;
  let found = 0;
  times.forEach((time, at) => {
    while (time - (times[from] ?? time) > withinMs) from++;
    found = Math.max(found, at - from + 1);
  });
  return found;
}

interface Outcome {
  readonly samples: readonly Sample[];
  readonly failures: readonly { readonly what: string; readonly atMs: number }[];
  /** How long after the return the last request that failed was sent; negative: before the return. */
  readonly lastFailureMs: number;
  /** When each instance first served after the return. */
  readonly firstServedMs: readonly number[];
  /** At each instance after the return, the most of each within 100 ms (probes: within 1 s). */
  readonly connections: readonly number[];
  readonly requests: readonly number[];
  readonly probes: readonly number[];
}

/** `fault` takes four instances away under load, for `forMs`, and returns them. */
async function outage(
  forMs: number,
  fault: { away(crowd: Crowd): Promise<void> | void; back(crowd: Crowd): Promise<Crowd> | Crowd },
): Promise<Outcome> {
  const gateway = await GatewayProcess.start();
  stops.push(() => gateway.stop());
  let crowd = await Crowd.start({ count: 4, medianMs: 5 });
  stops.push(() => crowd.kill());
  await crowd.register(gateway);
  await gateway.serving('web', 4);
  const traffic = new Traffic(gateway, { perSecond: PER_SECOND });
  const counts = new Counts(gateway, traffic);
  await pause(WARM_UP_MS);
  await fault.away(crowd);
  await pause(forMs);
  crowd = await fault.back(crowd);
  const backAtMs = traffic.nowMs;
  const backSharedMs = sharedNowMs();
  await pause(AFTER_MS);
  const samples = await counts.stop();
  const { failures } = await traffic.stop();
  const { instances } = await crowd.report();
  const since = (times: readonly number[]): number[] => times.filter((atMs) => atMs >= backSharedMs);
  const outcome: Outcome = {
    samples,
    failures,
    lastFailureMs: Math.max(-backAtMs, ...failures.map(({ atMs }) => atMs - backAtMs)),
    firstServedMs: instances.map(({ servedAtMs }) => (since(servedAtMs)[0] ?? Infinity) - backSharedMs),
    connections: instances.map(({ connectedAtMs }) => most(since(connectedAtMs), 100)),
    requests: instances.map(({ servedAtMs }) => most(since(servedAtMs), 100)),
    probes: instances.map(({ probedAtMs }) => most(since(probedAtMs), 1000)),
  };
  report(outcome, backAtMs);
  return outcome;
}

function report(outcome: Outcome, backAtMs: number): void {
  const kinds = new Map<string, number>();
  for (const { what, atMs } of outcome.failures) {
    const flag = /"flag":"(\w+)"/.exec(what)?.[1] ?? what.slice(0, 60);
    const kind = `${what.slice(0, 3)} ${flag} ${atMs > backAtMs ? 'after' : 'before'} the return`;
    kinds.set(kind, (kinds.get(kind) ?? 0) + 1);
  }
  const last = outcome.samples.at(-1);
  console.log(
    `attempts/requests: ${((last?.attempts ?? NaN) / (last?.requests ?? NaN)).toFixed(3)} in all, ` +
      `never above ${highestRatio(outcome.samples).toFixed(3)}; ${worstRatio(outcome.samples, 1000).toFixed(3)} in the worst second\n` +
      `failures: ${[...kinds].map(([kind, count]) => `${kind} ${count}`).join(', ') || 'none'}; ` +
      `the last ${Math.round(outcome.lastFailureMs)} ms after the return\n` +
      `first served after ${outcome.firstServedMs.map(Math.round).join(' ')} ms; most within 100 ms: ` +
      `connections ${outcome.connections.join(' ')}, requests ${outcome.requests.join(' ')}; ` +
      `most probes within 1 s: ${outcome.probes.join(' ')}`,
  );
}

function expectWhole(outcome: Outcome): void {
  // Of all requests so far: what is saved up by those that needed no retry may be spent within a second.
  expect(highestRatio(outcome.samples)).toBeLessThanOrEqual(1.2);
  expect(outcome.lastFailureMs).toBeLessThanOrEqual(5000);
  for (const firstMs of outcome.firstServedMs) expect(firstMs).toBeLessThanOrEqual(5000);
}

describe('when all instances of a service go and come back under load', () => {
  it('killed and started again: attempts stay within 1.2 of requests, all serve again within 5 s, without a herd', async () => {
    const outcome = await outage(OUTAGE_MS, {
      away: async (crowd) => {
        crowd.signal('SIGKILL');
        await crowd.exited;
      },
      back: ({ ports }) => Crowd.start({ count: 4, medianMs: 5, ports }),
    });
    expect(outcome.failures.length).toBeGreaterThan(0);
    expectWhole(outcome);
    // Nor in any two seconds: who refuses connections is not worth a retry.
    expect(worstRatio(outcome.samples, 2000)).toBeLessThanOrEqual(1.2);
    // All that is sent in 100 ms is 30 requests: what comes back first is hardly asked more than that.
    for (const count of outcome.connections) expect(count).toBeLessThanOrEqual(PER_SECOND / 10);
    for (const count of outcome.probes) expect(count).toBeLessThanOrEqual(3);
    for (const count of outcome.requests) expect(count).toBeLessThanOrEqual((2 * PER_SECOND) / 10);
  });

  it('stopped and continued: attempts stay within 1.2 of requests, all serve again within 5 s, without a herd', async () => {
    const outcome = await outage(OUTAGE_MS / (long ? 3 : 2), {
      away: (crowd) => {
        crowd.signal('SIGSTOP');
      },
      back: (crowd) => {
        crowd.signal('SIGCONT');
        return crowd;
      },
    });
    // Connections that waited in the stopped process's queue are taken by it at once: what it counts says nothing.
    expectWhole(outcome);
  });
});
