import { afterEach, describe, expect, it } from 'vitest';
import type { Outcome } from '../../src/core/outcome.ts';
import type { ServicePolicy } from '../../src/core/policy.ts';
import { answering, OK, Origin, POLICY, RawClient, type Script, TestGateway } from './harness.ts';

const stops: (() => unknown)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0).reverse()) await stop();
});

async function origin(script: Script): Promise<Origin> {
  const started = await Origin.start(script);
  stops.push(() => started.stop());
  return started;
}

async function send(gateway: TestGateway, request: string): Promise<RawClient> {
  const client = await RawClient.connect(gateway.port);
  stops.push(() => client.destroy());
  client.send(request);
  return client;
}

const GET = 'GET / HTTP/1.1\r\nHost: web.localhost\r\n\r\n';
const POST = 'POST / HTTP/1.1\r\nHost: web.localhost\r\nContent-Length: 2\r\n\r\nhi';
const done = (client: RawClient): boolean => client.text.endsWith('ok');

describe('a crowd of requests that waits on one instance', () => {
  it('moves to another as soon as it is a crowd, and what may not be repeated stays', async () => {
    const slow = await origin((received, socket) => {
      if (received.includes('POST')) setTimeout(() => socket.write(OK), 1500);
    });
    const good = await origin(answering(OK));
    const causes: string[] = [];
    const gateway = await TestGateway.start([slow.port, good.port], {
      policy: {
        hang: { enabled: true, minWaitMs: 60_000, p99Factor: 10, crowd: 5, crowdFactor: 1.5, crowdMinWaitMs: 150 },
      },
      onHanging: ({ slot }, cause) => {
        causes.push(`${slot}: ${cause}`);
        gateway.service.view = { ...gateway.service.view, slots: Int32Array.of(1) };
      },
    });
    stops.push(() => gateway.stop());
    // They take turns, so that six go either way before there is a crowd.
    const clients = [];
    for (let i = 0; i < 12; i++) clients.push(await send(gateway, GET));
    const posts = [await send(gateway, POST), await send(gateway, POST)];
    for (const client of clients) await client.until(() => done(client), 1400);
    expect(causes[0]).toMatch(/^0: \d+ requests have waited for more than \d+ ms each while its peers answer$/);
    for (const post of posts) await post.until(() => done(post));
    const moved = gateway.outcomes.filter(({ outcome }) => outcome === 'cancelled');
    expect(moved.length).toBeGreaterThanOrEqual(5);
    expect(new Set(moved.map(({ slot }) => slot))).toEqual(new Set([0]));
    expect(gateway.inflight).toBe(0);
  });
});

describe('what waits on an instance that hangs, and that the ejection cap keeps in', () => {
  it('moves past it and past the next one, and moves are no retries', async () => {
    const hung = [await origin(() => undefined), await origin(() => undefined)];
    const good = await origin(answering(OK));
    const causes = new Set<number>();
    const gateway = await TestGateway.start([...hung.map(({ port }) => port), good.port], {
      policy: {
        retry: { ...POLICY.retry, attempts: 0 },
        hang: { ...POLICY.hang, minWaitMs: 200, p99Factor: 10 },
      },
      onHanging: ({ slot }) => causes.add(slot),
    });
    stops.push(() => gateway.stop());
    gateway.figures.latencyP99Ms.fill(5);
    const clients = [];
    for (let i = 0; i < 6; i++) {
      clients.push(await send(gateway, GET));
      // Others are answered all the time: there is no doubt about who hangs.
      await new Promise((resolve) => setTimeout(resolve, 60));
    }
    const others = setInterval(() => void send(gateway, GET), 50);
    stops.push(() => clearInterval(others));
    for (const client of clients) await client.until(() => done(client), 1700);
    expect([...causes].sort()).toEqual([0, 1]);
  });
});

describe('a lone request that has waited for long', () => {
  async function withLone(silentMs: number, answersAfterMs: number, policy: Partial<ServicePolicy> = {}) {
    const answerAfter = (delayMs: number): Script => {
      return (received, socket, connection) => {
        setTimeout(() => {
          if (!socket.destroyed) answering(OK)(received, socket, connection);
        }, delayMs);
      };
    };
    const origins = [await origin(answerAfter(silentMs)), await origin(answerAfter(answersAfterMs))];
    const causes: string[] = [];
    const gateway = await TestGateway.start(
      origins.map(({ port }) => port),
      {
        policy: { hang: { ...POLICY.hang, minWaitMs: 200, p99Factor: 10 }, ...policy },
        onHanging: ({ slot }, cause) => causes.push(`${slot}: ${cause}`),
      },
    );
    stops.push(() => gateway.stop());
    gateway.figures.latencyP99Ms.fill(5);
    gateway.service.balancer = {
      pick: ({ slots }, tried, count) => slots.find((slot) => !tried.subarray(0, count).includes(slot)) ?? -1,
    };
    return { gateway, causes };
  }

  it('is answered by a peer, and that tells that the instance hangs', async () => {
    const { gateway, causes } = await withLone(60_000, 0);
    const client = await send(gateway, GET);
    await client.until(() => done(client), 1700);
    expect(causes).toEqual([
      expect.stringMatching(/^0: a request has waited for \d+ ms, and a peer then answered it in/),
    ]);
    expect(gateway.outcomes).toEqual([
      { slot: 0, outcome: 'cancelled' },
      { slot: 1, outcome: 'success' },
    ]);
  });

  it('accuses nobody where the peer is as slow: it is the request', async () => {
    const { gateway, causes } = await withLone(700, 700);
    const client = await send(gateway, GET);
    await client.until(() => done(client), 1900);
    expect(gateway.outcomes.at(-1)).toEqual({ slot: 1, outcome: 'success' });
    expect(causes).toEqual([]);
  });

  it.each<[string, string, Partial<ServicePolicy>]>([
    ['may not be made twice', POST, {}],
    ['has no retries left', GET, { retry: { ...POLICY.retry, attempts: 0 } }],
    [
      'has nobody to compare with: the service has answered nothing yet',
      GET,
      { hang: { ...POLICY.hang, minWaitMs: 0 } },
    ],
  ])('stays where it %s', async (_why, request, policy) => {
    const { gateway, causes } = await withLone(700, 0, policy);
    if (policy.hang) gateway.figures.latencyP99Ms.fill(0);
    const client = await send(gateway, request);
    await client.until(() => done(client), 1900);
    expect(gateway.outcomes).toEqual([{ slot: 0, outcome: 'success' }]);
    expect(causes).toEqual([]);
  });
});

describe('a trial that takes too long', () => {
  async function withTrial(answersAfterMs: number): Promise<TestGateway> {
    const slow = await origin((received, socket, connection) => {
      setTimeout(() => {
        answering(OK)(received, socket, connection);
      }, answersAfterMs);
    });
    const good = await origin(answering(OK));
    const gateway = await TestGateway.start([slow.port, good.port]);
    stops.push(() => gateway.stop());
    let taken = false;
    gateway.service.view = { ...gateway.service.view, slots: Int32Array.of(1), trials: Int32Array.of(0) };
    gateway.service.takeTrial = () => (taken ? -1 : 0);
    gateway.figures.latencyP99Ms[1] = 20;
    Object.assign(gateway.context.fleet.members[0]!, {
      admit: () => {
        taken = true;
        gateway.service.view = { ...gateway.service.view, trials: new Int32Array(0) };
        return { trial: true, settle: (outcome: Outcome) => gateway.outcomes.push({ slot: 0, outcome }) };
      },
    });
    return gateway;
  }

  it('has failed, and its request is answered by somebody else', async () => {
    const gateway = await withTrial(1900);
    const client = await send(gateway, GET);
    await client.until(() => done(client), 1700);
    expect(gateway.outcomes).toEqual([
      { slot: 0, outcome: 'timeout' },
      { slot: 1, outcome: 'success' },
    ]);
    expect(gateway.inflight).toBe(0);
  });

  it('has failed at once, whoever waits for an answer that may not be asked for twice', async () => {
    const gateway = await withTrial(1700);
    // A request that cannot be repeated is a trial only where nobody else is left.
    gateway.service.view = { ...gateway.service.view, slots: new Int32Array(0) };
    const client = await send(gateway, POST);
    await expect.poll(() => gateway.inflight).toBe(1);
    gateway.service.view = { ...gateway.service.view, slots: Int32Array.of(1), trials: new Int32Array(0) };
    await expect.poll(() => gateway.outcomes, { timeout: 1500 }).toEqual([{ slot: 0, outcome: 'timeout' }]);
    await client.until(() => done(client));
    expect(gateway.outcomes).toEqual([{ slot: 0, outcome: 'timeout' }]);
  });

  it('has failed as well where its answer comes between two looks', async () => {
    const gateway = await withTrial(0);
    // The clock of the figures says that 1 ms is too much: three times nothing, were there no minimum.
    Object.assign(gateway.service.policy, { hang: { ...gateway.service.policy.hang, crowdMinWaitMs: 0 } });
    gateway.figures.latencyP99Ms[1] = 0.000_001;
    const client = await send(gateway, GET);
    await client.until(() => done(client));
    expect(gateway.outcomes[0]).toEqual({ slot: 0, outcome: 'timeout' });
  });
});
