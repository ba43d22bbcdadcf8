import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ManualClock } from '../../../src/core/clock.ts';
import { RegistryRefusal } from '../../../src/registry/backend.ts';
import { RegistryUnreachable } from '../../../src/registry/network-fault.ts';
import { a, aaaa, cname, NXDOMAIN, REFUSED, SERVFAIL, srv, type FakeDns } from '../../servers/dns.ts';
import { ALL, DnsStage, ended, seen, SRV_NAME, told } from './stage.ts';

let stage: DnsStage;
let dns: FakeDns;

beforeEach(async () => {
  stage = new DnsStage();
  dns = await stage.server();
});
afterEach(() => stage[Symbol.asyncDispose]());

const WEB = (port = 80): void => dns.put(srv(SRV_NAME, 'one.test', port), a('one.test', '10.0.0.1'));
const ADDRESSES = { services: new Map([['web', { kind: 'address', name: 'web.test', port: 8080 } as const]]) };

describe('SRV records', () => {
  it('of the lowest priority are used, with their weights', async () => {
    dns.put(srv(SRV_NAME, 'one.test', 80, 10, 1), srv(SRV_NAME, 'two.test', 81, 30, 1));
    dns.put(srv(SRV_NAME, 'spare.test', 82, 99, 2), a('spare.test', '10.0.0.9'));
    dns.put(a('one.test', '10.0.0.1'), a('two.test', '10.0.0.2'));
    const observation = await stage.watch(dns).synced(3000);
    expect(told(observation)).toBe('10.0.0.1:80*10 10.0.0.2:81*30');
    expect(observation.of('web')[0]?.metadata.get('target')).toBe('one.test');
  });

  it('of the next priority are used where the targets of the first have no address', async () => {
    dns.put(srv(SRV_NAME, 'gone.test', 80, 1, 1), srv(SRV_NAME, 'spare.test', 82, 1, 2), a('spare.test', '10.0.0.9'));
    const observation = await stage.watch(dns).synced(3000);
    expect(told(observation)).toBe('10.0.0.9:82*1');
    expect(stage.skips[0]?.why).toBe('target "gone.test" of its SRV record has no address');
  });

  it('with the target "." mean that there is nothing', async () => {
    dns.put(srv(SRV_NAME, '.', 0));
    const observation = await stage.watch(dns).synced(3000);
    expect([...observation.table]).toEqual([['web', new Map()]]);
  });

  it('use the addresses that come along, and ask for the others', async () => {
    dns.put(a('two.test', '10.0.0.2'));
    dns.onQuery = (ask) =>
      ask.type === 'SRV'
        ? {
            answers: [srv(SRV_NAME, 'one.test', 80), srv(SRV_NAME, 'two.test', 80)],
            additionals: [a('ONE.test', '10.0.0.1'), a('other.test', '10.6.6.6')],
          }
        : dns.fromZone(ask);
    await seen(stage.watch(dns), '10.0.0.1:80*1 10.0.0.2:80*1');
    expect(new Set(dns.asked.map(({ name, type }) => `${type} ${name}`))).toEqual(
      new Set([`SRV ${SRV_NAME}`, 'A two.test']),
    );
  });

  it('share their weight among the addresses of a target, of one family', async () => {
    dns.put(srv(SRV_NAME, 'one.test', 80, 10), a('one.test', '10.0.0.1'), a('one.test', '10.0.0.2'));
    dns.put(aaaa('one.test', 'fd00::1'), srv(SRV_NAME, 'six.test', 80, 4), aaaa('six.test', 'fd00::6'));
    await seen(stage.watch(dns), '10.0.0.1:80*5 10.0.0.2:80*5 fd00::6:80*4');
  });

  it('that cannot be used are skipped, and their neighbours kept', async () => {
    WEB();
    dns.put(srv(SRV_NAME, 'one.test', 0), srv(SRV_NAME, 'strange name.test', 80));
    await seen(stage.watch(dns), '10.0.0.1:80*1');
    expect(stage.skips.map(({ why }) => why).sort()).toEqual([
      '"10.0.0.1" port 0 is no address to connect to',
      'target "strange name.test" of its SRV record has no address',
    ]);
  });
});

describe('addresses', () => {
  it('of both families get the configured port', async () => {
    dns.put(a('web.test', '10.0.0.1'), a('web.test', '10.0.0.2'), aaaa('web.test', 'FD00::1'));
    await seen(stage.watch(dns, ADDRESSES), '10.0.0.1:8080*1 10.0.0.2:8080*1 fd00::1:8080*1');
  });

  it('are found behind aliases, in one answer or in several', async () => {
    dns.put(a('end.test', '10.0.0.1'), cname('middle.test', 'end.test'));
    dns.onQuery = (ask) =>
      ask.name === 'web.test' && ask.type === 'A' ? { answers: [cname('Web.Test', 'Middle.test')] } : dns.fromZone(ask);
    await seen(stage.watch(dns, ADDRESSES), '10.0.0.1:8080*1');
  });

  it('behind an alias that leads to itself are an error, not an emptiness', async () => {
    dns.onQuery = () => ({ answers: [cname('web.test', 'x.test'), cname('x.test', 'web.test')] });
    expect((await ended(stage.watch(dns, ADDRESSES))).message).toContain('is an alias of an alias and so on');
    let at = 0;
    dns.onQuery = ({ name }) => ({ answers: [cname(name, `${(at += 1)}.test`)] });
    expect((await ended(stage.watch(dns, ADDRESSES))).message).toContain('is an alias of an alias and so on');
  });
});

describe('nothing', () => {
  it('is believed when the name server says so: no such name is absent, no records is empty', async () => {
    WEB();
    const observation = await stage.watch(dns).synced(3000);
    dns.clear(SRV_NAME);
    await seen(observation, '');
    expect(observation.table.has('web')).toBe(true);
    dns.remove(SRV_NAME);
    await observation.until('the absence', () => !observation.table.has('web'), 3000);
    WEB(81);
    await seen(observation, '10.0.0.1:81*1');
  });

  it.each([
    ['SERVFAIL', { rcode: SERVFAIL }, 'it answered SERVFAIL'],
    [
      'a referral',
      { authorities: [{ type: 'NS', name: 'test', ttl: 1, data: 'ns.test' }] as const },
      'it refers to other name servers',
    ],
    ['a code nobody knows', { rcode: 15 }, 'it answered code 15'],
    ['silence', undefined, 'no answer by UDP within 150 ms'],
  ])('is not what %s means: the watch is lost, and the table stays', async (_, answer, message) => {
    WEB();
    const observation = await stage.watch(dns).synced(3000);
    dns.onQuery = () => answer;
    const error = await ended(observation);
    expect(error).toBeInstanceOf(RegistryUnreachable);
    expect(error.message).toContain(message);
    expect(error.message).toContain(`SRV ${SRV_NAME}`);
    expect(told(observation)).toBe('10.0.0.1:80*1');
    expect(observation.counts).toMatchObject({ reset: 1, absent: 0 });
  });

  it('is not what a target that cannot be looked up means', async () => {
    WEB();
    const observation = await stage.watch(dns).synced(3000);
    dns.onQuery = (ask) => (ask.type === 'A' ? { rcode: SERVFAIL } : dns.fromZone(ask));
    expect((await ended(observation)).message).toContain('A one.test is: it answered SERVFAIL');
    expect(told(observation)).toBe('10.0.0.1:80*1');
  });

  it('is what REFUSED from everybody is not: that needs an operator', async () => {
    dns.onQuery = () => ({ rcode: REFUSED });
    expect(await ended(stage.watch(dns))).toBeInstanceOf(RegistryRefusal);
  });
});

describe('one service that cannot be looked up', () => {
  const services = new Map([
    ['web', { kind: 'srv', name: SRV_NAME } as const],
    ['pay', { kind: 'address', name: 'pay.test', port: 443 } as const],
  ]);
  const failing = (rcode: number): void => {
    dns.onQuery = (ask) => (ask.name === 'pay.test' ? { rcode } : dns.fromZone(ask));
  };

  it('keeps what it had and is reported, while the others go on; then it comes back', async () => {
    WEB();
    dns.put(a('pay.test', '10.0.0.5'));
    const observation = await stage.watch(dns, { services }).synced(3000);
    failing(SERVFAIL);
    await expect.poll(() => stage.skips.length).toBeGreaterThan(0);
    dns.remove(SRV_NAME);
    WEB(81);
    await seen(observation, '10.0.0.1:81*1');
    expect(told(observation, 'pay')).toBe('10.0.0.5:443*1');
    expect(stage.skips[0]).toMatchObject({ service: 'pay', id: '*' });
    expect(stage.skips[0]?.why).toContain('SERVFAIL');
    expect(stage.skips[0]?.why).toContain('what was known is kept');
    dns.remove('pay.test');
    dns.put(a('pay.test', '10.0.0.6'));
    dns.onQuery = (ask) => dns.fromZone(ask);
    await seen(observation, '10.0.0.6:443*1', 'pay');
    expect(observation.end).toBeUndefined();
  });

  it('from the start is waited for, while the others are told; then the watch is lost for it', async () => {
    WEB();
    failing(SERVFAIL);
    const observation = stage.watch(dns, { services, patienceMs: 300 });
    await seen(observation, '10.0.0.1:80*1');
    expect((await ended(observation)).message).toContain('pay.test is: it answered SERVFAIL');
    expect(observation.counts).toMatchObject({ synced: 0, absent: 0 });
  });

  it('when a new watch begins is told as it was known last', async () => {
    WEB();
    dns.put(a('pay.test', '10.0.0.5'));
    const backend = stage.backend(dns, { services, patienceMs: 100 });
    await (await stage.observe(backend).synced(3000)).stop();
    failing(SERVFAIL);
    const again = await stage.observe(backend).synced(3000);
    expect(told(again, 'pay')).toBe('10.0.0.5:443*1');
    // A list is a fresh read, or none.
    await expect(backend.list(ALL, AbortSignal.timeout(3000))).rejects.toThrow('SERVFAIL');
  });
});

describe('an answer', () => {
  it('that is truncated is asked for again by TCP', async () => {
    WEB();
    dns.onQuery = (ask) => (ask.by === 'udp' ? { truncated: true } : dns.fromZone(ask));
    await seen(stage.watch(dns), '10.0.0.1:80*1');
    expect(dns.asked.slice(0, 2).map(({ by }) => by)).toEqual(['udp', 'tcp']);
  });

  it('that is truncated is an error where TCP is not to be had: never a part of the truth', async () => {
    WEB();
    const observation = await stage.watch(dns).synced(3000);
    dns.onQuery = () => ({ truncated: true });
    await dns.stopTcp();
    expect((await ended(observation)).message).toContain('connection refused');
    expect(told(observation)).toBe('10.0.0.1:80*1');
  });

  it('that is cut without saying so, as by Consul, is whole by TCP', async () => {
    for (let at = 1; at <= 9; at += 1) dns.put(srv(SRV_NAME, `t${at}.test`, 80), a(`t${at}.test`, `10.0.0.${at}`));
    dns.onQuery = (ask) => {
      const whole = dns.fromZone(ask);
      return ask.by === 'udp' ? { ...whole, answers: whole.answers?.slice(0, 3) ?? [] } : whole;
    };
    expect((await stage.watch(dns).synced(3000)).of('web')).toHaveLength(3);
    expect((await stage.watch(dns, { tcp: true }).synced(3000)).of('web')).toHaveLength(9);
  });

  it('in other letters of the same name is the answer', async () => {
    WEB();
    dns.onSend = (packet) => Buffer.from(packet.toString('latin1').replace('_web', '_WeB'), 'latin1');
    await seen(stage.watch(dns), '10.0.0.1:80*1');
  });

  it.each([
    ['another id', (packet: Buffer) => packet.writeUInt16BE(packet.readUInt16BE(0) ^ 1, 0)],
    ['another question', (packet: Buffer) => packet.write('x', 13, 'latin1')],
    ['no response bit', (packet: Buffer) => packet.writeUInt8(packet.readUInt8(2) & 0x7f, 2)],
  ])('with %s is passed over, and the true one behind it is taken', async (_, forge) => {
    WEB();
    dns.onSend = (packet) => {
      const forged = Buffer.from(packet);
      // The port of the answer, were it believed.
      forge(forged);
      return [forged, Buffer.from('short'), packet];
    };
    await seen(stage.watch(dns), '10.0.0.1:80*1');
  });

  it('that is only ever forged ends in an error, within its time', async () => {
    dns.onSend = (packet) =>
      Array.from({ length: 300 }, () => Buffer.concat([Buffer.from([0, 0]), packet.subarray(2)]));
    const startMs = performance.now();
    expect((await ended(stage.watch(dns))).message).toMatch(/packets that are no answer|no answer by UDP/);
    expect(performance.now() - startMs).toBeLessThan(2000);
  });

  it('that got lost is asked for once more', async () => {
    WEB();
    let queries = 0;
    dns.onQuery = (ask) => ((queries += 1) === 1 ? undefined : dns.fromZone(ask));
    await seen(stage.watch(dns), '10.0.0.1:80*1');
  });

  it('of an old server that does not know EDNS is had without', async () => {
    WEB();
    dns.onQuery = (ask) => (ask.edns ? { rcode: 1 } : dns.fromZone(ask));
    await seen(stage.watch(dns), '10.0.0.1:80*1');
  });

  it('by TCP may come in pieces; a connection that closes in the middle is an error', async () => {
    WEB();
    const observation = await stage.watch(dns, { tcp: true }).synced(3000);
    dns.onSend = (packet) => packet.subarray(0, packet.length - 3);
    expect((await ended(observation)).message).toContain('malformed packet');
  });
});

describe('questions', () => {
  it('have ids and source ports that nobody can foresee', async () => {
    WEB();
    await stage.watch(dns, { minTtlMs: 1 }).synced(3000);
    await expect.poll(() => dns.asked.length).toBeGreaterThan(20);
    const distinct = (key: 'id' | 'port'): number => new Set(dns.asked.slice(0, 20).map((each) => each[key])).size;
    expect(distinct('id')).toBeGreaterThan(17);
    expect(distinct('port')).toBeGreaterThan(10);
  });

  it('go to the next server when one cannot say, and stay with the one that could', async () => {
    const other = await stage.server();
    dns.onQuery = () => ({ rcode: SERVFAIL });
    other.put(srv(SRV_NAME, 'one.test', 80), a('one.test', '10.0.0.1'));
    const backend = stage.backend([dns, other]);
    const observation = stage.observe(backend);
    await seen(observation, '10.0.0.1:80*1');
    await expect.poll(() => other.asked.length).toBeGreaterThan(6);
    expect(dns.asked.length).toBe(1);
    expect(backend.info().endpoint).toBe(`127.0.0.1:${other.server.port}`);
  });

  it('that no server can answer name them all', async () => {
    const other = await stage.server();
    dns.onQuery = () => ({ rcode: SERVFAIL });
    other.onQuery = () => ({ rcode: REFUSED });
    const error = await ended(stage.watch([dns, other]));
    expect(error).not.toBeInstanceOf(RegistryRefusal);
    for (const { server } of [dns, other]) expect(error.message).toContain(`127.0.0.1:${server.port}`);
  });

  it('go to no further server after an answer of "no such name"', async () => {
    const other = await stage.server();
    dns.onQuery = () => ({ rcode: NXDOMAIN });
    await stage.watch([dns, other]).synced(3000);
    expect(other.asked).toEqual([]);
  });

  it('go to the servers of the system where none is configured', async () => {
    WEB();
    const systemServers = (): string[] => [`127.0.0.1:${dns.server.port}`, 'nonsense', 'fe80::1%eth0'];
    await seen(stage.watch([], { systemServers }), '10.0.0.1:80*1');
    expect((await ended(stage.watch([], { systemServers: () => [] }))).message).toContain('set registries[].servers');
  });
});

describe('time to live', () => {
  const asks = (): number => dns.asked.filter(({ type }) => type === 'SRV').length;

  it.each([
    ['as the shortest of all records says', 30, 20, 20_000],
    ['never below the floor', 0, 0, 5000],
    ['never above the ceiling', 86_400, 86_400, 60_000],
    ['of a hostile size counts as none', 0xffff_ffff, 86_400, 5000],
  ])('is kept %s', async (_, srvTtl, addressTtl, wantedMs) => {
    dns.put(srv(SRV_NAME, 'one.test', 80, 1, 0, srvTtl), a('one.test', '10.0.0.1', addressTtl));
    const clock = new ManualClock();
    await stage.watch(dns, { clock, minTtlMs: 5000 }).synced(3000);
    await expect.poll(() => clock.pending).toBe(2);
    await clock.advanceAsync(wantedMs - 1);
    expect(asks()).toBe(1);
    clock.advance(1);
    await expect.poll(asks).toBe(2);
  });

  it('of an empty answer comes from the SOA', async () => {
    dns.negativeTtlS = 12;
    const clock = new ManualClock();
    await stage.watch(dns, { clock, minTtlMs: 5000 }).synced(3000);
    await expect.poll(() => clock.pending).toBe(2);
    await clock.advanceAsync(11_999);
    expect(asks()).toBe(1);
    clock.advance(1);
    await expect.poll(asks).toBe(2);
  });

  it('that is over is a sign of life, even where nothing changed', async () => {
    WEB();
    const observation = await stage.watch(dns).synced(3000);
    await observation.until('signs of life', () => observation.counts.synced > 3, 3000);
    expect(observation.counts.reset).toBe(1);
  });
});
