import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { RegistryRefusal } from '../../../src/registry/backend.ts';
import type { DnsOptions } from '../../../src/registry/dns/dns-backend.ts';
import { Dnsmasq, dnsmasqBinary } from '../../servers/dnsmasq.ts';
import { DnsStage, ended, seen, SRV_NAME, told } from './stage.ts';

if (dnsmasqBinary === undefined) {
  describe('dnsmasq', () => it.skip('(cannot be had: install dnsmasq-base)', () => undefined));
} else {
  describe('a real dnsmasq', () => {
    let stage: DnsStage;
    let running: Dnsmasq[];

    beforeEach(() => {
      stage = new DnsStage();
      running = [];
    });
    afterEach(async () => {
      await stage[Symbol.asyncDispose]();
      await Promise.all(running.map((each) => each[Symbol.asyncDispose]()));
    });

    async function start(hosts: readonly string[], srvHosts: readonly string[] = []): Promise<Dnsmasq> {
      const made = await Dnsmasq.start(hosts, srvHosts);
      running.push(made);
      return made;
    }

    const at = ({ port }: Dnsmasq): Partial<DnsOptions> => ({ servers: [{ host: '127.0.0.1', port }], timeoutMs: 500 });
    const ADDRESSES = { services: new Map([['web', { kind: 'address', name: 'web.test', port: 8080 } as const]]) };
    const SRV = [`${SRV_NAME},one.test,80,1,10`, `${SRV_NAME},two.test,81,1,0`, `${SRV_NAME},spare.test,82,2,1`];
    const HOSTS = ['10.0.0.1 one.test', '10.0.0.2 two.test', '10.0.0.9 spare.test'];

    it.each([false, true])('tells SRV records with their addresses (tcp: %s)', async (tcp) => {
      const server = await start(HOSTS, SRV);
      await seen(stage.watch([], { ...at(server), tcp }), '10.0.0.1:80*10 10.0.0.2:81*0.1');
    });

    it('tells addresses, and what changes in them at a SIGHUP', async () => {
      const server = await start(['10.0.0.1 web.test', 'fd00::1 web.test']);
      const observation = stage.watch([], { ...at(server), ...ADDRESSES });
      await seen(observation, '10.0.0.1:8080*1 fd00::1:8080*1');
      await server.setHosts(['10.0.0.2 web.test']);
      await seen(observation, '10.0.0.2:8080*1');
      await server.setHosts([]);
      await observation.until('the absence', () => !observation.table.has('web'), 3000);
      await server.setHosts(['10.0.0.3 web.test']);
      await seen(observation, '10.0.0.3:8080*1');
      expect(observation.end).toBeUndefined();
    });

    it('tells a target that changes its address, and one that loses it', async () => {
      const server = await start(HOSTS, SRV);
      const observation = stage.watch([], at(server));
      await seen(observation, '10.0.0.1:80*10 10.0.0.2:81*0.1');
      await server.setHosts(['10.0.0.7 one.test', '10.0.0.9 spare.test']);
      await seen(observation, '10.0.0.7:80*10');
      await server.setHosts(['10.0.0.9 spare.test']);
      await seen(observation, '10.0.0.9:82*1');
    });

    it('tells a name that has no records of the kind from a name that is not there', async () => {
      const server = await start(['10.0.0.1 _web._tcp.test']);
      const observation = await stage.watch([], at(server)).synced(3000);
      expect([...observation.table]).toEqual([['web', new Map()]]);
      await server.setHosts([]);
      await observation.until('the absence', () => !observation.table.has('web'), 3000);
    });

    it('truncates what is too large for UDP, which then is read whole', async () => {
      const server = await start(Array.from({ length: 150 }, (_, number) => `10.0.1.${number + 1} web.test`));
      const observation = await stage.watch([], { ...at(server), ...ADDRESSES }).synced(5000);
      expect(observation.of('web')).toHaveLength(150);
    });

    it('refuses names that it is not in charge of', async () => {
      const server = await start([]);
      const services = new Map([['web', { kind: 'address', name: 'web.elsewhere', port: 80 } as const]]);
      expect(await ended(stage.watch([], { ...at(server), services }))).toBeInstanceOf(RegistryRefusal);
    });

    it('is lost when it stops or hangs, loses nothing by it, and is followed again', async () => {
      const server = await start(HOSTS, SRV);
      const backend = stage.backend([], at(server));
      const frozen = stage.observe(backend);
      await seen(frozen, '10.0.0.1:80*10 10.0.0.2:81*0.1');
      server.server.freeze();
      expect((await ended(frozen)).message).toContain('no answer by UDP within 500 ms');
      expect(told(frozen)).toBe('10.0.0.1:80*10 10.0.0.2:81*0.1');
      server.server.thaw();
      const stopped = stage.observe(backend);
      await seen(stopped, '10.0.0.1:80*10 10.0.0.2:81*0.1');
      await server.server.kill();
      expect((await ended(stopped)).message).toContain('connection refused');
      await server.restart([`${SRV_NAME},two.test,81,1,1`]);
      await seen(stage.observe(backend), '10.0.0.2:81*1');
    });
  });
}
