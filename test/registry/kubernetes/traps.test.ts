import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { RegistryRefusal } from '../../../src/registry/backend.ts';
import { RegistryUnreachable } from '../../../src/registry/network-fault.ts';
import { sendStatus, statusOf, type FakeKubernetes } from '../../servers/kubernetes.ts';
import { TcpProxy } from '../../servers/tcp-proxy.ts';
import { DRAINING, NOT_READY, ready, slice } from './slices.ts';
import { ALL, ended, hosts, KubernetesStage, seen } from './stage.ts';

let stage: KubernetesStage;
let cluster: FakeKubernetes;
const revisions = (): (string | null)[] => cluster.watches.map(({ query }) => query.get('resourceVersion'));

beforeEach(async () => {
  stage = new KubernetesStage();
  cluster = await stage.cluster();
});
afterEach(() => stage[Symbol.asyncDispose]());

describe('a list', () => {
  const fill = (count: number): void => {
    for (let at = 1; at <= count; at += 1) cluster.apply(slice('web', `web-${at}`, [ready(`10.0.0.${at}`)]));
  };

  it('is read page by page, at the revision of the first one, and the watch begins there', async () => {
    fill(5);
    const observation = await stage.watch(cluster.url, { pageSlices: 2 }).synced(3000);
    expect(observation.of('web')).toHaveLength(5);
    expect(cluster.lists.map(({ query }) => [query.get('limit'), query.has('continue')])).toEqual([
      ['2', false],
      ['2', true],
      ['2', true],
    ]);
    await expect.poll(revisions).toEqual(['1005']);
  });

  it('begins again when its rest has expired, and at last asks for everything at once', async () => {
    fill(3);
    cluster.intercept = (request, response) => {
      if (!(request.url ?? '').includes('continue=')) return false;
      sendStatus(response, 410, 'Expired', 'The provided continue parameter is too old');
      return true;
    };
    const observation = await stage.watch(cluster.url, { pageSlices: 2 }).synced(3000);
    expect(observation.of('web')).toHaveLength(3);
    expect(cluster.lists.map(({ query }) => query.get('limit'))).toEqual(['2', '2', null]);
  });

  it('keeps nothing of what it had read before it expired', async () => {
    fill(3);
    let turn = 0;
    cluster.intercept = (request, response) => {
      if (!(request.url ?? '').includes('continue=') || (turn += 1) > 1) return false;
      cluster.delete('default', 'web-1');
      sendStatus(response, 410, 'Expired', 'The provided continue parameter is too old');
      return true;
    };
    const listed = await stage.backend(cluster.url, { pageSlices: 2 }).list(ALL, AbortSignal.timeout(3000));
    expect(listed.get('web')?.map((each) => each.host)).toEqual(['10.0.0.2', '10.0.0.3']);
  });

  it('refuses more slices than the limit, and names the setting', async () => {
    fill(3);
    const listing = stage.backend(cluster.url, { maxSlices: 2 }).list(ALL, AbortSignal.timeout(3000));
    await expect(listing).rejects.toThrow(
      'more than 2 EndpointSlices in namespace default: narrow registries[].labelSelector',
    );
  });
});

describe('history that the server has forgotten', () => {
  it('in the middle of a watch is listed again inside it: reset what there is, absent what is gone', async () => {
    cluster.apply(slice('web', 'w', [ready('10.0.0.1')]));
    cluster.apply(slice('pay', 'p', [ready('10.0.0.3')]));
    const observation = await stage.watch(cluster.url).synced(3000);
    await expect.poll(() => cluster.watching).toBe(1);
    // What happens while nobody can see it: the watch is away, and then its revision is gone.
    cluster.intercept = (request, response) => {
      if (!(request.url ?? '').includes('watch=1')) return false;
      cluster.intercept = () => false;
      cluster.delete('default', 'p');
      cluster.apply(slice('web', 'w', [ready('10.0.0.2')]));
      cluster.compact();
      response.writeHead(200);
      response.end(
        `${JSON.stringify({ type: 'ERROR', object: statusOf(410, 'Expired', 'too old resource version: 1002 (1004)') })}\n`,
      );
      return true;
    };
    cluster.bookmark();
    cluster.endWatches();
    await seen(observation, '10.0.0.2');
    await observation.until('the end of pay', () => !observation.table.has('pay'), 3000);
    expect([observation.end, observation.violations, cluster.lists.length]).toEqual([undefined, [], 2]);
    cluster.apply(slice('web', 'w', [ready('10.0.0.4')]));
    await seen(observation, '10.0.0.4');
  });

  it('is told as an HTTP status by some servers, which means the same', async () => {
    let turn = 0;
    cluster.intercept = (request, response) => {
      if (!(request.url ?? '').includes('watch=1') || (turn += 1) > 1) return false;
      cluster.apply(slice('web', 'w', [ready('10.0.0.2')]));
      sendStatus(response, 410, 'Gone', 'too old resource version');
      return true;
    };
    const observation = stage.watch(cluster.url);
    await seen(observation, '10.0.0.2');
    expect([observation.end, cluster.lists.length]).toEqual([undefined, 2]);
  });

  it('again and again ends the watch in place of listing for ever', async () => {
    cluster.intercept = (request, response) => {
      if (!(request.url ?? '').includes('watch=1')) return false;
      sendStatus(response, 410, 'Gone', 'too old resource version');
      return true;
    };
    const error = await ended(stage.watch(cluster.url));
    expect(error.message).toContain('no longer has the history we asked for (410: too old resource version)');
    expect(cluster.lists.length).toBe(4);
  });
});

describe('a watch', () => {
  it('asks for bookmarks and for an end within 300 to 600 s, and goes on where the last one ended', async () => {
    cluster.apply(slice('web', 'w', [ready('10.0.0.1')]));
    const observation = await stage.watch(cluster.url).synced(3000);
    await expect.poll(() => cluster.watching).toBe(1);
    cluster.apply(slice('web', 'w', [ready('10.0.0.2')]));
    await seen(observation, '10.0.0.2');
    cluster.endWatches();
    await expect.poll(() => cluster.watching).toBe(1);
    cluster.apply(slice('web', 'w', [ready('10.0.0.3')]));
    await seen(observation, '10.0.0.3');
    expect(revisions()).toEqual(['1001', '1002']);
    expect(cluster.lists.length).toBe(1);
    expect(cluster.watches.map(({ query }) => [query.get('allowWatchBookmarks'), query.get('timeoutSeconds')])).toEqual(
      [
        ['true', '450'],
        ['true', '450'],
      ],
    );
  });

  it('goes on from a bookmark, which is a sign of life too', async () => {
    const observation = await stage.watch(cluster.url).synced(3000);
    await expect.poll(() => cluster.watching).toBe(1);
    cluster.skipRevisions(50);
    const before = observation.counts.synced;
    cluster.bookmark();
    await observation.until('the bookmark', () => observation.counts.synced > before, 3000);
    cluster.endWatches();
    await expect.poll(revisions).toEqual(['1000', '1050']);
  });

  it('that is silent, bookmarks included, is asked for anew, and nobody is told of a loss', async () => {
    const observation = await stage.watch(cluster.url, { idleMs: 60 }).synced(3000);
    await expect.poll(() => cluster.watches.length).toBeGreaterThan(3);
    cluster.apply(slice('web', 'w', [ready('10.0.0.1')]));
    await seen(observation, '10.0.0.1');
    expect([observation.end, cluster.lists.length]).toEqual([undefined, 1]);
  });

  it('on a connection that only we know of ends after the silence and one request', async () => {
    const proxy = await TcpProxy.to(cluster.port);
    const options = { idleMs: 200, requestMs: 200, connectMs: 200 };
    const observation = await stage.watch(`http://127.0.0.1:${proxy.port}`, options).synced(3000);
    await expect.poll(() => cluster.watching).toBe(1);
    proxy.blackHole();
    const error = await ended(observation);
    expect(error).toBeInstanceOf(RegistryUnreachable);
    expect(error.message).toContain('no answer within 200 ms: it hangs or is cut off');
    await proxy[Symbol.asyncDispose]();
  });

  it('that the server ends as soon as it began is a loss, not a loop', async () => {
    cluster.intercept = (request, response) => {
      if (!(request.url ?? '').includes('watch=1')) return false;
      response.writeHead(200).end();
      return true;
    };
    expect((await ended(stage.watch(cluster.url))).message).toContain('ended a watch as soon as it began');
  });

  it.each([
    [
      'an ERROR inside the 200',
      { type: 'ERROR', object: statusOf(500, 'InternalError', 'etcd is away') },
      'cannot serve just now (500: etcd is away)',
    ],
    ['nonsense', '<html>\n', 'answered its API with something else than an API server would, beginning "<html>"'],
    ['an event of no known type', { type: 'RENAMED', object: {} }, 'something else than an API server would'],
    ['a bookmark without a revision', { type: 'BOOKMARK', object: {} }, 'answered a bookmark with something else'],
  ])('ends with the reason when it brings %s', async (_, event, message) => {
    const observation = await stage.watch(cluster.url).synced(3000);
    await expect.poll(() => cluster.watching).toBe(1);
    cluster.inject(event);
    const error = await ended(observation);
    expect(error).toBeInstanceOf(RegistryUnreachable);
    expect(error.message).toContain(message);
  });

  it('that breaks in the middle of an event tells nothing of it, and is lost', async () => {
    cluster.apply(slice('web', 'w', [ready('10.0.0.1')]));
    const observation = await stage.watch(cluster.url).synced(3000);
    await expect.poll(() => cluster.watching).toBe(1);
    cluster.inject('{"type":"MODIFIED","object":{"metadata":');
    cluster.endWatches();
    expect((await ended(observation)).message).toContain('beginning "{\\"type\\":\\"MODIFIED\\"');
    expect(hosts(observation)).toBe('10.0.0.1');
  });

  it('of a revision that the server has not reached yet is a loss: its store went back', async () => {
    const observation = await stage.watch(cluster.url).synced(3000);
    await expect.poll(() => cluster.watching).toBe(1);
    cluster.inject({ type: 'ERROR', object: statusOf(504, 'Timeout', 'Too large resource version: 1000, current: 3') });
    expect((await ended(observation)).message).toContain('Too large resource version');
  });
});

describe('the slices of a service', () => {
  it('count together, and an address that moves between them is never gone', async () => {
    cluster.apply(slice('web', 'a', [ready('10.0.0.1'), ready('10.0.0.2')]));
    const observation = await stage.watch(cluster.url).synced(3000);
    await expect.poll(() => cluster.watching).toBe(1);
    // As the controller does it: first the new place, then not the old one.
    cluster.apply(slice('web', 'b', [{ ...ready('10.0.0.2'), ...NOT_READY }]));
    cluster.apply(slice('web', 'b', [ready('10.0.0.2'), ready('10.0.0.3')]));
    cluster.apply(slice('web', 'a', [ready('10.0.0.1')]));
    await seen(observation, '10.0.0.1,10.0.0.2,10.0.0.3');
    expect(observation.counts).toMatchObject({ reset: 1, upsert: 1, remove: 0, absent: 0 });
    cluster.delete('default', 'b');
    await seen(observation, '10.0.0.1');
    cluster.delete('default', 'a');
    await observation.until('the end of the service', () => !observation.table.has('web'), 3000);
  });

  it('let those that shut down serve where none is ready, and only then', async () => {
    cluster.apply(slice('web', 'a', [ready('10.0.0.1'), { ...ready('10.0.0.2'), ...DRAINING }]));
    const observation = await stage.watch(cluster.url).synced(3000);
    expect(hosts(observation)).toBe('10.0.0.1');
    cluster.apply(
      slice('web', 'a', [
        { ...ready('10.0.0.1'), ...NOT_READY },
        { ...ready('10.0.0.2'), ...DRAINING },
      ]),
    );
    await seen(observation, '10.0.0.2');
    expect(observation.of('web').map((each) => [each.host, each.state, each.stateReason])).toEqual([
      ['10.0.0.1', 'down', 'not ready'],
      ['10.0.0.2', 'degraded', 'terminating, but still serving, and no endpoint of the service is ready'],
    ]);
  });

  it('may change hands', async () => {
    cluster.apply(slice('web', 'a', [ready('10.0.0.1')]));
    const observation = await stage.watch(cluster.url).synced(3000);
    cluster.apply(slice('pay', 'a', [ready('10.0.0.1')]));
    await seen(observation, '10.0.0.1', 'pay');
    expect(observation.table.has('web')).toBe(false);
  });

  it('without endpoints are an authoritative empty, not an absence', async () => {
    cluster.apply(slice('web', 'a', []));
    const observation = await stage.watch(cluster.url).synced(3000);
    expect([...observation.table.keys()]).toEqual(['web']);
    expect([...(await stage.backend(cluster.url).list(ALL, AbortSignal.timeout(3000)))]).toEqual([['web', []]]);
  });
});

describe('namespaces', () => {
  const inShop = { namespace: 'shop' };

  it('have plain names in the first one, and name.namespace in the others', async () => {
    cluster.apply(slice('web', 'a', [ready('10.0.0.1')]));
    cluster.apply(slice('web', 'a', [ready('10.0.0.2')], inShop));
    cluster.apply(slice('secret', 'a', [ready('10.0.0.9')], { namespace: 'vault' }));
    const observation = await stage.watch(cluster.url, { namespaces: ['default', 'shop'] }).synced(3000);
    expect([...observation.table.keys()].sort()).toEqual(['web', 'web.shop']);
    await expect.poll(() => cluster.watching).toBe(2);
    cluster.apply(slice('web', 'a', [ready('10.0.0.3')], inShop));
    await seen(observation, '10.0.0.3', 'web.shop');
    expect(hosts(observation)).toBe('10.0.0.1');
  });

  it('cannot be feigned by a service with a dot in its label', async () => {
    cluster.apply(slice('web.shop', 'forged', [ready('10.6.6.6')]));
    cluster.apply(slice('web', 'a', [ready('10.0.0.2')], inShop));
    const observation = await stage.watch(cluster.url, { namespaces: ['default', 'shop'] }).synced(3000);
    expect(hosts(observation, 'web.shop')).toBe('10.0.0.2');
    expect(stage.skips).toEqual([
      { service: 'web.shop', id: 'forged', why: expect.stringContaining('as Kubernetes cannot') as string },
    ]);
  });

  it('without a service of interest are not asked at all, and the others only for those', async () => {
    const interest = { kind: 'services', names: new Set(['web.shop', 'pay.shop', 'nowhere.else']) } as const;
    cluster.allowed = new Set(['shop']);
    const options = { namespaces: ['default', 'shop'], labelSelector: 'tier!=test' };
    await stage.watch(cluster.url, options, interest).synced(3000);
    await expect.poll(() => cluster.watching).toBe(1);
    const selectors = [...cluster.lists, ...cluster.watches].map((call) => [
      call.namespace,
      call.query.get('labelSelector'),
    ]);
    const wanted = ['shop', 'kubernetes.io/service-name in (pay,web),tier!=test'];
    expect(selectors).toEqual([wanted, wanted]);
  });

  it('that may not be read are a refusal with the verbs to grant', async () => {
    cluster.allowed = new Set(['shop']);
    const error = await ended(stage.watch(cluster.url));
    expect(error).toBeInstanceOf(RegistryRefusal);
    expect(error.message).toContain(
      'a Role in namespace default with the verbs get, list, watch on endpointslices of discovery.k8s.io',
    );
  });

  it('that may no longer be read end the watch the next time it is asked for', async () => {
    const observation = await stage.watch(cluster.url).synced(3000);
    await expect.poll(() => cluster.watching).toBe(1);
    cluster.allowed = new Set();
    cluster.bookmark();
    cluster.endWatches();
    expect(await ended(observation)).toBeInstanceOf(RegistryRefusal);
  });
});

describe('a label selector', () => {
  it('lets a slice leave when it no longer matches, and come back', async () => {
    const labels = (tier: string) => ({ labels: { tier } });
    cluster.apply(slice('web', 'a', [ready('10.0.0.1')], labels('gold')));
    const observation = await stage.watch(cluster.url, { labelSelector: 'tier=gold' }).synced(3000);
    await expect.poll(() => cluster.watching).toBe(1);
    cluster.apply(slice('web', 'a', [ready('10.0.0.1')], labels('lead')));
    await observation.until('the leave', () => !observation.table.has('web'), 3000);
    cluster.apply(slice('web', 'a', [ready('10.0.0.1')], labels('gold')));
    await seen(observation, '10.0.0.1');
  });

  it('that the server cannot read is a refusal that names the setting', async () => {
    const error = await ended(stage.watch(cluster.url, { labelSelector: 'a=b=c' }));
    expect(error).toBeInstanceOf(RegistryRefusal);
    expect(error.message).toContain('check registries[].labelSelector');
  });
});
