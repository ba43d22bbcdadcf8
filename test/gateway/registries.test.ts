import net, { type AddressInfo } from 'node:net';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { AddressPolicy } from '../../src/core/address.ts';
import { systemClock } from '../../src/core/clock.ts';
import { seededRandom } from '../../src/core/random.ts';
import { Registries } from '../../src/gateway/registries.ts';
import { silentLogger } from '../../src/telemetry/log.ts';
import { Metrics } from '../../src/telemetry/metrics.ts';
import { Timeline } from '../../src/telemetry/timeline.ts';
import { Figures } from '../../src/upstream/figures.ts';
import { Fleet } from '../../src/upstream/fleet.ts';
import { load } from '../config/load-text.ts';

const stops: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0).reverse()) await stop();
});

async function freePort(): Promise<number> {
  const server = net.createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

interface Listed {
  readonly id: string;
  readonly status: string;
}

/** An embedded registry with this selection of services, behind a fleet, and other registries beside it. */
async function stage(selection: string, others = '') {
  const [clock, random, port] = [systemClock, seededRandom(1), await freePort()];
  const local = `{ name: local, type: embedded, dataDir: 'off', listen: ['127.0.0.1:${port}'], ${selection} }`;
  const config = load(`registries: [${others}${local}]`);
  const fleet = new Fleet({ clock, random, figures: new Figures(64), defaultPolicy: config.defaultPolicy });
  const metrics = new Metrics({
    clock,
    version: 'test',
    nodeVersion: 'test',
    processMetrics: false,
    instanceSeries: { enabled: false, limit: 0 },
  });
  const reports: string[] = [];
  const registries = new Registries({
    clock,
    random,
    fleet,
    metrics,
    timeline: new Timeline({ clock }),
    log: silentLogger,
    addresses: new AddressPolicy({ allowLoopback: true }),
    stateDir: undefined,
    owner: { pid: process.pid, isAlive: () => true },
    cluster: { host: undefined, port: undefined },
    onReport: (service, id, { status }) => void reports.push(`${service}/${id} ${status}`),
  });
  const reasons: string[] = [];
  const heard: boolean[] = [];
  fleet.listen({
    added: ({ instance }) => void heard.push(registries.hearsFrom(instance)),
    removed: ({ service, instance }) =>
      void reasons.push(`${service.name}/${instance.id} ${registries.takeReason(service.name, instance.id)}`),
  });
  stops.push(async () => {
    await registries.close();
    fleet.close();
  });
  await registries.start(config.registries);
  await registries.ready();
  const call = async (method: string, path: string, body?: object): Promise<Response> => {
    const response = await fetch(`http://127.0.0.1:${port}${path}`, {
      method,
      ...(body && { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }),
    });
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${await response.text()}`);
    return response;
  };
  const register = (serviceName: string, id: string, ofPort = 9): Promise<Response> =>
    call('POST', '/register', { serviceName, id, host: '127.0.0.1', port: ofPort, ttl: '60s' });
  const listed = async (service: string): Promise<string[]> =>
    ((await (await call('GET', `/services/${service}/instances`)).json()) as Listed[]).map(
      ({ id, status }) => `${id} ${status}`,
    );
  return { fleet, registries, reports, reasons, heard, call, register, listed };
}

function passing(fleet: Fleet, service: string, id: string): void {
  const member = fleet.find(service, id);
  if (!member) throw new Error(`${service}/${id} is not in the fleet`);
  fleet.setProbe(member, 'passing', 'it answers');
  fleet.flush();
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('an embedded registry whose services have other names in the pool', () => {
  it.each([
    ['a map', 'services: { shop: web }', 'shop'],
    ['a prefix', 'servicePrefix: eu-', 'eu-web'],
    ['a list with a prefix', 'services: [web], servicePrefix: eu-', 'eu-web'],
  ])('by %s: answers with the word of the gateway, and hears of its changes', async (_how, selection, ours) => {
    const { fleet, listed, register, call } = await stage(selection);
    await register('web', 'a');
    expect(await listed('web')).toEqual(['a starting']);
    passing(fleet, ours, 'a');
    expect(await listed('web')).toEqual(['a up']);
    const { headers } = await call('GET', '/services/web/instances?index=0');
    const waiting = call('GET', `/services/web/instances?index=${headers.get('x-fairlead-index')}&wait=5s`);
    await turn();
    expect(fleet.drain(ours, 'a')).toBe(true);
    expect(await (await waiting).json()).toMatchObject([{ id: 'a', status: 'draining' }]);
  });

  it('takes no word on an instance of another registry for that of its own', async () => {
    const others = `{ name: fixed, type: static, services: { web: ['127.0.0.1:8'] } }, `;
    const { fleet, listed, register, registries } = await stage('servicePrefix: eu-', others);
    await register('web', 'web-127.0.0.1-8');
    const [other] = [...registries.merge.instances('web')];
    passing(fleet, 'web', other?.id ?? '');
    expect(await listed('web')).toEqual(['web-127.0.0.1-8 starting']);
  });

  it('answers with its own word on services that are not taken over', async () => {
    const { listed, register } = await stage('services: [shop]');
    await register('web', 'a');
    expect(await listed('web')).toEqual(['a up']);
  });

  it('is up by whichever of its names works', async () => {
    const { fleet, listed, register } = await stage('services: { one: web, two: web }');
    await register('web', 'a');
    expect(await listed('web')).toEqual(['a starting']);
    passing(fleet, 'two', 'a');
    expect(await listed('web')).toEqual(['a up']);
  });

  it('passes reports and reasons on under the name of the pool', async () => {
    const { register, call, reports, reasons, heard } = await stage('services: { shop: web }');
    await register('web', 'a');
    await call('PUT', '/heartbeat/a?status=failing');
    await call('DELETE', '/deregister/a');
    await turn();
    expect(heard).toEqual([true]);
    expect(reports.at(-1)).toBe('shop/a failing');
    expect(reasons).toEqual(['shop/a deregistered']);
  });
});

describe('an instance that has another id in the pool than in the embedded registry', () => {
  it('is found by its address', async () => {
    const others = `{ name: fixed, type: static, services: { web: [{ host: 127.0.0.1, port: 8, id: a }] } }, `;
    const { fleet, listed, register, registries, call, reports, reasons, heard } = await stage('', others);
    await register('web', 'a');
    const ids = [...registries.merge.instances('web')].map(({ id, port }) => `${port} ${id}`);
    expect(ids).toEqual(['8 a', expect.stringMatching(/^9 a-/)]);
    const id = ids[1]?.slice(2) ?? '';
    passing(fleet, 'web', id);
    expect(await listed('web')).toEqual(['a up']);
    await call('PUT', '/heartbeat/a?status=degraded');
    await call('DELETE', '/deregister/a');
    await turn();
    expect(heard).toEqual([false, true]);
    expect(reports.at(-1)).toBe(`web/${id} degraded`);
    expect(reasons).toEqual([`web/${id} deregistered`]);
  });
});

describe('all instances of an embedded registry', () => {
  it('leave the pool as fast as they are deregistered, without a hold', async () => {
    const { register, call, fleet, registries } = await stage('');
    const all = Array.from({ length: 50 }, (_, at) => ({ service: `s${at % 5}`, id: `i${at}` }));
    await Promise.all(all.map(({ service, id }, at) => register(service, id, 1000 + at)));
    await Promise.all(all.map(({ id }) => call('DELETE', `/deregister/${id}`)));
    // A slow machine shows so many in several turns.
    await vi.waitFor(() => expect(all.filter(({ service, id }) => fleet.find(service, id))).toEqual([]));
    expect(registries.statuses()).toMatchObject([{ held: 0 }]);
  });
});

describe('why an instance went', () => {
  it('is forgotten where it stayed, as another registry has it too, and was registered again', async () => {
    const others = `{ name: fixed, type: static, services: { web: [{ host: 127.0.0.1, port: 9, id: a }] } }, `;
    const { register, call, registries, reasons } = await stage('', others);
    for (const round of ['taken', 'forgotten']) {
      await register('web', 'a');
      await call('DELETE', '/deregister/a');
      if (round === 'taken') expect(registries.takeReason('web', 'a')).toBe('deregistered');
    }
    await register('web', 'a');
    expect(registries.takeReason('web', 'a')).toBeUndefined();
    expect(reasons).toEqual([]);
  });
});

describe('the age of an embedded registry', () => {
  it('is 0 however long nothing changes: it is what alerts are about', async () => {
    const { register, registries } = await stage('');
    await register('web', 'a');
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(registries.statuses().map(({ ageMs }) => ageMs)).toEqual([0]);
  });
});
