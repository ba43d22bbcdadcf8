import { setTimeout as pause } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import { ManualClock, systemClock } from '../../../src/core/clock.ts';
import { seededRandom } from '../../../src/core/random.ts';
import { RegistryRefusal, type Interest } from '../../../src/registry/backend.ts';
import { ConsulBackend, type ConsulOptions } from '../../../src/registry/consul/consul-backend.ts';
import { Gate } from '../../../src/registry/consul/gate.ts';
import { TokenBucket } from '../../../src/registry/consul/token-bucket.ts';
import { RegistryUnreachable } from '../../../src/registry/network-fault.ts';
import { Observation } from '../../contract/observation.ts';
import { check, entry, FakeConsul, type Call } from './fake-consul.ts';

const WEB: Interest = { kind: 'services', names: new Set(['web']) };
const ALL: Interest = { kind: 'all' };
const one = entry({ id: 'a' });
const two = entry({ id: 'b' });
const fakes: FakeConsul[] = [];
const watching: Observation[] = [];

afterEach(async () => {
  await Promise.all(watching.splice(0).map((each) => each.stop()));
  await Promise.all(fakes.splice(0).map((each) => each[Symbol.asyncDispose]()));
});

async function fake(): Promise<FakeConsul> {
  const made = await FakeConsul.start();
  fakes.push(made);
  return made;
}

function backend(addresses: readonly string[], more: Partial<ConsulOptions> = {}): ConsulBackend {
  const given = { clock: systemClock, random: seededRandom(1), onSkip: () => undefined };
  return new ConsulBackend({ name: 'main', addresses, ...given, ...more });
}

function watch(consul: FakeConsul, more: Partial<ConsulOptions> = {}, interest = WEB): Observation {
  const observation = new Observation(backend([consul.url], more), interest);
  watching.push(observation);
  return observation;
}

async function ended(observation: Observation): Promise<Error> {
  await observation.until('the end', () => observation.end !== undefined, 5000);
  return observation.end?.error as Error;
}

const failure = (source: ConsulBackend, interest = WEB): Promise<Error> =>
  source.list(interest, AbortSignal.timeout(5000)).then(
    () => new Error('it was let in'),
    (error: unknown) => error as Error,
  );

const ids = (observation: Observation, service = 'web'): string =>
  observation
    .of(service)
    .map((each) => each.id)
    .sort()
    .join();
const seen = (observation: Observation, wanted: string, service = 'web'): Promise<void> =>
  observation.until(wanted, () => ids(observation, service) === wanted, 3000);
const waitingFor = (call: Call): string | null => call.query.get('index');

describe('the index', () => {
  it('that goes backwards starts over with a full read, and nothing of another history is told', async () => {
    const consul = await fake();
    consul.onHealth = (_, turn) => {
      if (turn === 0) return { index: '100', body: [one] };
      if (turn === 1) return { index: '3', body: [entry({ id: 'old' })] };
      return turn === 2 ? { index: '4', body: [two] } : 'hang';
    };
    const observation = watch(consul);
    await seen(observation, 'b');
    await expect.poll(() => consul.health().map(waitingFor)).toEqual([null, '100', null, '4']);
    expect([observation.counts.reset, observation.counts.absent]).toEqual([2, 0]);
  });

  it('is waited beyond exactly, above 2^53 too, and is never 0', async () => {
    const consul = await fake();
    const indexes = ['0', '18446744073709551614', '18446744073709551615'];
    consul.onHealth = (_, turn) => (turn < 3 ? { index: indexes[turn]!, body: [one] } : 'hang');
    watch(consul);
    await expect.poll(() => consul.health().map(waitingFor)).toEqual([null, '1', indexes[1], indexes[2]]);
  });

  it.each(['', 'abc', '-1', '99999999999999999999999'])(
    'that is missing or nonsense (%j) ends the watch',
    async (index) => {
      const consul = await fake();
      consul.onHealth = () => ({ index, body: [one] });
      const error = await ended(watch(consul));
      expect(error.message).toContain('answered without an X-Consul-Index');
      expect(error.message).toContain('check registries[].address');
    },
  );

  it('that comes back without a change is no event; neither is a check that prints something else', async () => {
    const consul = await fake();
    consul.onHealth = (_, turn) => {
      const checks = [check('passing', { Output: `run ${turn}` })];
      return turn < 5 ? { index: String(turn + 1), body: [entry({ id: 'a', checks })] } : 'hang';
    };
    const observation = await watch(consul).synced(3000);
    await expect.poll(() => consul.health().length).toBe(6);
    expect(observation.counts.reset).toBe(1);
  });
});

describe('a waiting read', () => {
  it('waits for the configured time, give or take a tenth, differently every time', async () => {
    const consul = await fake();
    consul.onHealth = (_, turn) => (turn < 20 ? { index: String(turn + 1), body: [one] } : 'hang');
    watch(consul, { waitMs: 10_000 });
    await expect.poll(() => consul.health().length).toBe(21);
    const waits = consul
      .health()
      .slice(1)
      .map((call) => Number(/^(\d+)ms$/.exec(call.query.get('wait') ?? '')?.[1]));
    expect(new Set(waits).size).toBeGreaterThan(15);
    expect(Math.min(...waits)).toBeGreaterThanOrEqual(9000);
    expect(Math.max(...waits)).toBeLessThanOrEqual(11_000);
  });

  it('is given up a sixteenth and ten seconds after its wait', async () => {
    const consul = await fake();
    consul.onHealth = (_, turn) => (turn === 0 ? { body: [one] } : 'hang');
    const clock = new ManualClock();
    // Always the middle of the jitter, and no heartbeat in between.
    const observation = await watch(consul, { clock, waitMs: 16_000, heartbeatMs: 1e9, random: () => 0.5 }).synced(
      3000,
    );
    await expect.poll(() => consul.health().length).toBe(2);
    await pause(50);
    clock.advance(26_999);
    await pause(50);
    expect(observation.end).toBeUndefined();
    clock.advance(1);
    expect((await ended(observation)).message).toContain('no answer within 27000 ms: it hangs or is cut off');
  });

  it('that returns at once, again and again, is slowed down', async () => {
    const consul = await fake();
    consul.onHealth = (_, turn) => ({ index: String(turn + 1), body: [one] });
    const startMs = performance.now();
    await watch(consul).synced(3000);
    await pause(1500);
    const count = consul.health().length;
    // A burst of 50, then ten a second, however slow this machine is.
    expect(count).toBeGreaterThan(10);
    expect(count).toBeLessThan(50 + (10 * (performance.now() - startMs)) / 1000 + 5);
  });

  it('asks for what was configured', async () => {
    const consul = await fake();
    consul.onHealth = (_, turn) => (turn === 0 ? { body: [one] } : 'hang');
    const scope = {
      datacenter: 'dc 2',
      namespace: 'team',
      partition: 'east',
      tags: ['a', 'b&c'],
      filter: 'Service.Port > 80',
    };
    await watch(consul, { ...scope, consistency: 'stale', token: 'secret' }).synced(3000);
    const [first] = consul.health();
    expect([...(first?.query ?? [])]).toEqual([
      ['tag', 'a'],
      ['tag', 'b&c'],
      ['filter', 'Service.Port > 80'],
      ['dc', 'dc 2'],
      ['ns', 'team'],
      ['partition', 'east'],
      ['stale', ''],
    ]);
    expect(first?.token).toBe('secret');
  });
});

describe('an empty answer', () => {
  const empty = { body: [] };
  const leaderless = { body: [], headers: { 'x-consul-knownleader': 'false' } };
  const isSure = (call: Call): boolean => call.query.has('consistent');

  it('at a leader change is asked again of a leader that is sure, and no event comes of it', async () => {
    const consul = await fake();
    consul.onHealth = (call, turn) => {
      if (isSure(call)) return { index: '12', body: [one] };
      if (turn === 1) return { ...leaderless, index: '11' };
      return turn === 0 ? { index: '10', body: [one] } : 'hang';
    };
    const observation = await watch(consul).synced(3000);
    await expect.poll(() => consul.health().map(waitingFor)).toEqual([null, '10', null, '12']);
    expect(ids(observation)).toBe('a');
    expect([observation.counts.absent, observation.counts.reset, observation.end]).toEqual([0, 1, undefined]);
  });

  it('is not believed while no leader is known', async () => {
    const consul = await fake();
    consul.onHealth = (_, turn) => (turn === 0 ? { body: [one] } : leaderless);
    const observation = watch(consul);
    const error = await ended(observation);
    expect(error).toBeInstanceOf(RegistryUnreachable);
    expect(error.message).toContain('answered with nothing while it knows no leader: not believed');
    expect(ids(observation)).toBe('a');
  });

  it('is not believed where Consul says that our token hides something', async () => {
    const consul = await fake();
    consul.onHealth = () => ({ ...empty, headers: { 'x-consul-results-filtered-by-acls': 'true' } });
    const error = await ended(watch(consul));
    expect(error).toBeInstanceOf(RegistryRefusal);
    expect(error.message).toContain('registries[].token');
  });

  it('is not believed where we may not read the service', async () => {
    const consul = await fake();
    consul.onAuthorize = () => ({ body: [{ Allow: false }, { Allow: true }] });
    expect((await ended(watch(consul))).message).toContain('hides service web from us. Give the token');
  });

  it('is not believed where the catalog has the service, but its nodes are hidden', async () => {
    const consul = await fake();
    consul.onAuthorize = () => ({ body: [{ Allow: true }, { Allow: false }] });
    consul.onCatalog = () => ({ body: { consul: [], web: [] } });
    const error = await ended(watch(consul));
    expect(error).toBeInstanceOf(RegistryRefusal);
    expect(error.message).toContain('lists service web, but hides its nodes from us');
    // Without the service in the catalog there is nothing to hide, and with a filter nobody can tell.
    consul.onCatalog = () => ({ body: { consul: [] } });
    await watch(consul).synced(3000);
    consul.onCatalog = () => ({ body: { consul: [], web: [] } });
    await watch(consul, { filter: 'Service.Port > 1' }).synced(3000);
  });

  it('is believed once it is confirmed, and not asked about again', async () => {
    const consul = await fake();
    consul.onHealth = (call, turn) => {
      if (isSure(call)) return empty;
      return turn < 8 ? { index: String(turn + 1), body: turn === 0 ? [one] : [] } : 'hang';
    };
    const observation = await watch(consul).synced(3000);
    await seen(observation, '');
    await expect.poll(() => consul.health().length).toBe(9);
    expect(consul.health().filter(isSure)).toHaveLength(1);
    expect([observation.counts.reset, observation.counts.absent]).toEqual([1, 1]);
    // Access control is off: one refusal of the question is enough.
    expect(consul.calls.filter((call) => call.path.endsWith('authorize'))).toHaveLength(1);
  });

  it('of a whole catalog is not believed without even Consul in it, nor without a token that may look', async () => {
    const consul = await fake();
    consul.onCatalog = () => ({ body: {} });
    expect((await ended(watch(consul, {}, ALL))).message).toContain(
      'without even its own service: it has only just started',
    );
    consul.onAuthorize = () => ({ body: [{ Allow: false }, { Allow: false }] });
    const refused = await ended(watch(consul, {}, ALL));
    expect(refused).toBeInstanceOf(RegistryRefusal);
    expect(refused.message).toContain('shows us no service at all without a token: set registries[].token');
    // A token for some services only: there may be none of them just now.
    await watch(consul, { token: 'narrow' }, ALL).synced(3000);
  });
});

describe('all services', () => {
  const named = (...names: readonly string[]): Record<string, string[]> =>
    Object.fromEntries(['consul', ...names].map((name) => [name, []]));

  it('come and go with the catalog; one that the catalog forgets stays while it has instances', async () => {
    const consul = await fake();
    const release = Promise.withResolvers<undefined>();
    consul.onHealth = async (call, turn) => {
      const service = call.path.split('/').at(-1) ?? '';
      if (turn === 0) return { body: [entry({ service, id: `${service}-1` })] };
      if (service !== 'gone') return 'hang';
      await release.promise;
      return { index: String(8 + turn), body: [] };
    };
    consul.onCatalog = (_, turn) => {
      if (turn === 0) return { index: '1', body: named('web', 'gone', 'forgotten') };
      return turn === 1 ? { index: '2', body: named('web', 'new') } : 'hang';
    };
    const observation = await watch(consul, {}, ALL).synced(3000);
    await seen(observation, 'new-1', 'new');
    expect([...observation.table.keys()].sort()).toEqual(['forgotten', 'gone', 'new', 'web']);
    release.resolve(undefined);
    await observation.until('gone', () => !observation.table.has('gone'), 3000);
    expect(observation.table.has('forgotten')).toBe(true);
    expect(observation.table.has('consul')).toBe(false);
    // Once told absent and out of the catalog, it is not asked about any more.
    const asked = consul.health('gone').length;
    await pause(300);
    expect(consul.health('gone').length).toBe(asked);
  });

  it('beyond the connections that may be held are read in turn, and a place that becomes free is taken', async () => {
    const consul = await fake();
    const names = Array.from({ length: 12 }, (_, at) => `s${at}`);
    let isGone = false;
    let wakeUp: (() => void) | undefined;
    const waiting = new Set<string>();
    let changed = '';
    consul.onHealth = async (call) => {
      const service = call.path.split('/').at(-1) ?? '';
      const body = (): unknown[] =>
        isGone && service === 's0' ? [] : [entry({ service, id: changed === service ? 'new' : 'old' })];
      if (!call.query.has('index')) return { body: body() };
      waiting.add(service);
      if (service !== 's0' || isGone) return 'hang';
      await new Promise<void>((resolve) => (wakeUp = resolve));
      return { index: '8', body: body() };
    };
    let isShrunk = false;
    consul.onCatalog = async (_, turn) => {
      while (turn > 0 && !isShrunk) await pause(20);
      return turn < 2 ? { index: String(turn + 1), body: named(...names.slice(turn)) } : 'hang';
    };
    const observation = await watch(consul, { maxWatches: 4, pollsPerSecond: 100 }, ALL).synced(3000);
    await expect.poll(() => waiting.size).toBe(4);
    changed = 's11';
    await seen(observation, 'new', 's11');
    expect([...waiting].sort()).toEqual(['s0', 's1', 's2', 's3']);
    isGone = true;
    isShrunk = true;
    wakeUp?.();
    await expect.poll(() => waiting.size).toBe(5);
    expect(observation.table.has('s0')).toBe(false);
    const [polled, startMs] = [consul.calls.length, performance.now()];
    await pause(500);
    expect(consul.calls.length - polled).toBeLessThan((100 * (performance.now() - startMs)) / 1000 + 25);
  });

  it('are refused beyond the bound, and none is followed that lacks a tag', async () => {
    const consul = await fake();
    consul.onCatalog = (_, turn) => (turn === 0 ? { body: { consul: [], web: ['a'], pay: ['b'] } } : 'hang');
    consul.onHealth = (call) => (call.query.has('index') ? 'hang' : { body: [one] });
    expect((await ended(watch(consul, { maxServices: 1 }, ALL))).message).toContain(
      'more than 1 services: name those you want in registries[].services',
    );
    consul.onCatalog = () => ({ body: { consul: [], web: ['a'], pay: ['b'] } });
    const listed = await backend([consul.url], { tags: ['a'] }).list(ALL, AbortSignal.timeout(3000));
    expect([...listed.keys()]).toEqual(['web']);
  });
});

describe('what is wrong is said', () => {
  it.each([
    [403, 'ACL not found', 'check registries[].token'],
    [403, 'Permission denied', 'check registries[].token'],
    [500, 'rpc error making call: ACL not found', 'check registries[].token'],
    [500, 'Failed to create boolean expression evaluator: 1:12', 'check registries[].filter'],
    [500, 'No path to datacenter', 'check registries[].datacenter'],
    [400, 'Invalid query parameter: "ns" - Namespaces are a Consul Enterprise feature', 'check registries[].namespace'],
  ])('as a refusal with its setting: %i %s', async (status, body, advice) => {
    const consul = await fake();
    consul.onHealth = () => ({ status, body });
    const error = await failure(backend([consul.url]));
    expect(error).toBeInstanceOf(RegistryRefusal);
    expect(error.message).toContain(`registry "main" at ${consul.url}`);
    expect(error.message).toContain(advice);
  });

  it.each([
    [500, 'No cluster leader', 'answered that it cannot serve: No cluster leader (status 500)'],
    [429, 'Too Many Requests', 'or name fewer services in registries[].services'],
    [404, '<html>', "what answers there is not Consul's HTTP API (status 404: <html>); check registries[].address"],
    [301, '', 'status 301: no explanation'],
    [500, '\u001b[31m\n', 'cannot serve: [31m'],
  ])('as a loss: %i %j', async (status, body, message) => {
    const consul = await fake();
    consul.onHealth = () => ({ status, body });
    const error = await failure(backend([consul.url]));
    expect(error).toBeInstanceOf(RegistryUnreachable);
    expect(error.message).toContain(message);
  });

  it.each([{}, null, 'text', 7])('when the body is no health answer: %j', async (body) => {
    const consul = await fake();
    consul.onHealth = () => ({ body });
    const error = await failure(backend([consul.url]));
    expect(error.message).toContain('with something else than Consul would');
  });

  it('when a server serves what its leader said half a minute ago', async () => {
    const consul = await fake();
    consul.onHealth = () => ({ body: [one], headers: { 'x-consul-lastcontact': '30001' } });
    expect((await failure(backend([consul.url], { consistency: 'stale' }))).message).toContain(
      'heard from its leader 30001 ms ago',
    );
  });

  it('when connections are broken, with the limit that may be the reason', async () => {
    const consul = await fake();
    consul.onHealth = (_, turn) => (turn === 0 ? { body: [one] } : 'hang');
    const observation = await watch(consul).synced(3000);
    await expect.poll(() => consul.health().length).toBe(2);
    consul.breakConnections();
    // Once may be an idle connection that was closed under our hands: it is asked again.
    await expect.poll(() => consul.health().length).toBe(3);
    consul.breakConnections();
    expect((await ended(observation)).message).toContain('limits.http_max_conns_per_client');
  });
});

describe('the heartbeat', () => {
  it('ends a watch whose agent hangs long before its reads would, and tells of life otherwise', async () => {
    const consul = await fake();
    consul.onHealth = (_, turn) => (turn === 0 ? { body: [one] } : 'hang');
    let isFrozen = false;
    consul.onLeader = () => (isFrozen ? 'hang' : { body: '10.0.0.1:8300' });
    const source = backend([consul.url], { heartbeatMs: 50, requestMs: 200 });
    const observation = new Observation(source, WEB);
    watching.push(observation);
    await observation.until('signs of life', () => observation.counts.synced > 3, 3000);
    expect(source.info()).toEqual({ endpoint: consul.url, leader: '10.0.0.1:8300', revision: '7' });
    isFrozen = true;
    expect((await ended(observation)).message).toContain('no answer within 200 ms');
  });

  it('ends a watch when there is no leader, unless stale reads are wanted', async () => {
    const consul = await fake();
    consul.onHealth = (call) => (call.query.has('index') ? 'hang' : { body: [one] });
    consul.onLeader = () => ({ body: '' });
    expect((await ended(watch(consul, { heartbeatMs: 30 }))).message).toContain(
      'has no leader; is its cluster healthy?',
    );
    const stale = watch(consul, { heartbeatMs: 30, consistency: 'stale' });
    await stale.until('life without a leader', () => stale.counts.synced > 4, 3000);
  });

  it('ends a watch when another address has to answer it, and the next watch begins there', async () => {
    const [first, second] = [await fake(), await fake()];
    first.onHealth = second.onHealth = (call) => (call.query.has('index') ? 'hang' : { body: [one] });
    let isFrozen = false;
    first.onLeader = () => (isFrozen ? 'hang' : { body: 'leader' });
    const source = backend([first.url, second.url], { heartbeatMs: 50, requestMs: 200 });
    const observation = new Observation(source, WEB);
    watching.push(observation);
    await observation.synced(3000);
    isFrozen = true;
    expect((await ended(observation)).message).toContain(`${first.url}: stopped answering; ${second.url} does`);
    const [before, again] = [first.calls.length, new Observation(source, WEB)];
    watching.push(again);
    await again.synced(3000);
    expect([source.info().endpoint, first.calls.length]).toEqual([second.url, before]);
  });
});

describe('the token bucket', () => {
  it('lets a burst through, and then its rate, in order', async () => {
    const clock = new ManualClock();
    const bucket = new TokenBucket({ burst: 3, perSecond: 10 }, clock);
    const turns: number[] = [];
    const takers = Array.from({ length: 6 }, async (_, at) => {
      await bucket.take(new AbortController().signal);
      turns.push(at, clock.now());
    });
    await pause(0);
    await clock.advanceAsync(1000, 50);
    await Promise.all(takers);
    expect(turns).toEqual([0, 0, 1, 0, 2, 0, 3, 100, 4, 200, 5, 300]);
  });

  it('does not save up more than its burst', async () => {
    const clock = new ManualClock();
    const bucket = new TokenBucket({ burst: 2, perSecond: 10 }, clock);
    clock.advance(60_000);
    await Promise.all([bucket.take(new AbortController().signal), bucket.take(new AbortController().signal)]);
    const third = bucket.take(new AbortController().signal);
    expect(clock.pending).toBe(1);
    clock.advance(100);
    await third;
  });

  it('lets go of those who wait when the signal aborts', async () => {
    const clock = new ManualClock();
    const bucket = new TokenBucket({ burst: 1, perSecond: 0.001 }, clock);
    const controller = new AbortController();
    await bucket.take(controller.signal);
    const waiting = bucket.take(controller.signal);
    controller.abort();
    await waiting;
    expect(clock.pending).toBe(0);
  });
});

describe('the gate', () => {
  it('runs no more than its limit at once, all of them in the end, failures too', async () => {
    const gate = new Gate(3);
    let running = 0;
    let most = 0;
    const tasks = Array.from({ length: 20 }, (_, at) =>
      gate.run(async () => {
        most = Math.max(most, (running += 1));
        await pause(1);
        running -= 1;
        if (at % 5 === 0) throw new Error('as some do');
        return at;
      }),
    );
    const results = await Promise.allSettled(tasks);
    expect([most, results.filter((result) => result.status === 'fulfilled').length]).toEqual([3, 16]);
  });
});
