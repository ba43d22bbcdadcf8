import { afterEach, describe, expect, it } from 'vitest';
import type { Member } from '../../src/upstream/directory.ts';
import { answering, OK, Origin, RawClient, roundTrip, TestGateway } from './harness.ts';

const stops: (() => unknown)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0).reverse()) await stop();
});

const GET = 'GET / HTTP/1.1\r\nHost: web.localhost\r\n\r\n';

async function scene(count: number): Promise<{ origins: Origin[]; gateway: TestGateway; refusing: number[] }> {
  const origins = await Promise.all(Array.from({ length: count }, () => Origin.start(answering(OK))));
  const gateway = await TestGateway.start(origins.map(({ port }) => port));
  const refusing: number[] = [];
  Object.assign(gateway.context, {
    onRefusing: ({ slot }: Member) => {
      refusing.push(slot);
      // What the breaker does.
      gateway.figures.breaker[slot] = 1;
    },
  });
  stops.push(
    () => gateway.stop(),
    () => Promise.all(origins.map((origin) => origin.stop())),
  );
  return { origins, gateway, refusing };
}

describe('an instance that is gone', () => {
  it('is found out as it closes its idle connections, before any request runs into it', async () => {
    const { origins, gateway, refusing } = await scene(2);
    for (let i = 0; i < 4; i++) expect(await roundTrip(gateway.port, GET)).toContain(' 200 OK');
    const attempts = gateway.outcomes.length;
    await origins[1]!.stop();
    await expect.poll(() => refusing, { interval: 2 }).toEqual([1]);
    expect(gateway.outcomes).toHaveLength(attempts);
  });

  it('is found out by the first connection that it refuses, and the request is answered by another', async () => {
    const { origins, gateway, refusing } = await scene(2);
    await origins[1]!.stop();
    for (let i = 0; i < 2; i++) expect(await roundTrip(gateway.port, GET)).toContain(' 200 OK');
    expect(refusing).toEqual([1]);
  });

  it('is found out by a request that it breaks off', async () => {
    const { origins, gateway, refusing } = await scene(2);
    const client = await RawClient.connect(gateway.port);
    stops.push(() => client.destroy());
    const silent = await Origin.start(() => undefined);
    stops.push(() => silent.stop());
    Object.assign(gateway.context.fleet.members[1]!, {
      instance: { ...gateway.context.fleet.members[1]!.instance, port: silent.port },
    });
    await origins[1]!.stop();
    for (let i = 0; i < 2; i++) client.send(GET);
    await expect.poll(() => silent.bytes).toContain('GET');
    await silent.stop();
    await expect.poll(() => refusing).toEqual([1]);
    await client.until(() => (client.text.match(/ 200 OK/g) ?? []).length === 2);
  });

  it('stays where it is the only one', async () => {
    const { origins, gateway, refusing } = await scene(1);
    await roundTrip(gateway.port, GET);
    await origins[0]!.stop();
    expect(await roundTrip(gateway.port, GET)).toContain('"flag":"UF"');
    expect(refusing).toEqual([]);
  });

  it('costs no second attempt where all the others have refused just now', async () => {
    const { origins, gateway } = await scene(3);
    Object.assign(gateway.context, { onRefusing: () => undefined });
    for (const origin of origins) await origin.stop();
    await roundTrip(gateway.port, GET);
    expect(gateway.outcomes).toHaveLength(3);
    for (let i = 0; i < 5; i++) expect(await roundTrip(gateway.port, GET)).toContain('"flag":"UF"');
    expect(gateway.outcomes).toHaveLength(8);
  });

  it('is passed over by a second attempt while another may answer', async () => {
    const { origins, gateway } = await scene(6);
    Object.assign(gateway.context, { onRefusing: () => undefined });
    for (const origin of origins.slice(1)) await origin.stop();
    const { pool, fleet } = gateway.context;
    await Promise.all(
      [1, 2, 3, 4, 5].map(
        (slot) => new Promise<void>((resolve) => pool.connect(slot, fleet.members[slot]!.instance, () => resolve())),
      ),
    );
    for (let i = 0; i < 6; i++) expect(await roundTrip(gateway.port, GET)).toContain(' 200 OK');
    expect(gateway.outcomes.length).toBeLessThanOrEqual(12);
  });
});
