import { getEventListeners } from 'node:events';
import { describe, expect, it } from 'vitest';
import { type Answer, openApi, web } from './open-api.ts';

describe('a blocking query', () => {
  const index = (answer: Answer): number => Number(answer.headers.get('x-fairlead-index'));
  const settled = async (answer: Promise<Answer>): Promise<boolean> => {
    let done = false;
    void answer.then(() => (done = true));
    for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
    return done;
  };

  it('waits until the service changes, and carries the new index', async () => {
    const { call, post, registry } = await openApi();
    await post(web);
    const now = await call('GET', '/services/web/instances');
    expect(index(now)).toBe(2);
    const waiting = call('GET', '/services/web/instances?index=2&wait=30s');
    expect(await settled(waiting)).toBe(false);
    await post({ ...web, serviceName: 'other' });
    expect(await settled(waiting)).toBe(false);
    expect(registry.figures.waiters).toBe(1);
    await post({ ...web, port: 81 });
    const answer = await waiting;
    expect(answer.body).toHaveLength(2);
    expect(index(answer)).toBe(4);
    expect(registry.figures.waiters).toBe(0);
  });

  it('waits for a service to appear', async () => {
    const { call, post } = await openApi();
    const first = await call('GET', '/services/web/instances');
    expect(index(first)).toBe(1);
    const waiting = call('GET', '/services/web/instances?index=1');
    expect(await settled(waiting)).toBe(false);
    await post(web);
    expect((await waiting).body).toHaveLength(1);
  });

  it.each([
    ['no index', ''],
    ['index 0', '?index=0'],
    ['an index from the past', '?index=1'],
    ['an index from the future, as after a loss of data', '?index=999999999'],
  ])('answers at once for %s', async (_, query) => {
    const { call, post } = await openApi();
    await post(web);
    expect((await call('GET', `/services/web/instances${query}`)).body).toHaveLength(1);
  });

  it.each([
    ['?wait=30s', 30_937.5],
    ['', 309_375],
    ['?wait=20h', 618_750],
  ])('gives up after its time and a little more (%s)', async (wait, afterMs) => {
    const { call, post, clock } = await openApi();
    await post(web);
    const waiting = call('GET', `/services/web/instances${wait === '' ? '?' : `${wait}&`}index=2`);
    await settled(waiting);
    clock.advance(afterMs - 1);
    expect(await settled(waiting)).toBe(false);
    clock.advance(1);
    const answer = await waiting;
    expect(answer.status).toBe(200);
    expect(index(answer)).toBe(2);
  });

  it('hears of missed heartbeats and of the word of the gateway', async () => {
    const { call, post, clock, registry } = await openApi();
    await post({ ...web, id: 'one', ttl: 5 });
    const missed = call('GET', '/services/web/instances?index=2');
    await settled(missed);
    clock.advance(5100);
    expect((await missed).body).toMatchObject([{ status: 'down' }]);
    const told = call('GET', `/services/web/instances?index=${index(await missed)}`);
    await settled(told);
    registry.statusChanged({ service: 'web', id: 'one' });
    expect(index(await told)).toBe(index(await missed) + 1);
  });

  it('ends with its client', async () => {
    const { call, post, registry, clock } = await openApi();
    await post(web);
    const pending = clock.pending;
    const client = new AbortController();
    const waiting = call('GET', '/services/web/instances?index=2', { signal: client.signal });
    await settled(waiting);
    expect(registry.figures.waiters).toBe(1);
    client.abort();
    await waiting;
    expect(registry.figures.waiters).toBe(0);
    expect(clock.pending).toBe(pending);
  });

  it('leaves nothing on the signal of a client that stays', async () => {
    const { registry, clock } = await openApi();
    const { signal } = new AbortController();
    const waiting = registry.nextChange('web', 1000, signal);
    expect(getEventListeners(signal, 'abort')).toHaveLength(1);
    clock.advance(1000);
    await waiting;
    expect(getEventListeners(signal, 'abort')).toHaveLength(0);
  });

  it('is refused when too many wait already', async () => {
    const { call, post } = await openApi({}, { waiters: 2 });
    await post(web);
    const waiting = [1, 2].map(() => call('GET', '/services/web/instances?index=2'));
    await settled(waiting[1]!);
    expect((await call('GET', '/services/web/instances?index=2')).status).toBe(503);
    await post({ ...web, port: 81 });
    await Promise.all(waiting);
  });

  it('ends when the registry closes', async () => {
    const { call, post, registry } = await openApi();
    await post(web);
    const waiting = call('GET', '/services/web/instances?index=2');
    await settled(waiting);
    await registry.close();
    expect((await waiting).status).toBe(200);
  });
});
