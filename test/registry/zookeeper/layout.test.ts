import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isName } from '../../../src/core/names.ts';
import { parseNode, type ZookeeperLayout } from '../../../src/registry/zookeeper/layout.ts';

const WHERE = { service: 'web', id: 'a', node: 'a' };

function parse(value: unknown, layout: ZookeeperLayout = 'auto', where = WHERE) {
  return parseNode(layout, where, Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)));
}

/** As Curator's JsonInstanceSerializer writes it. */
const CURATOR = {
  name: 'web',
  id: '0d9a2b7e-8a2c-4b60-9f5f-0c1a4b6f6a01',
  address: '10.0.0.7',
  port: 8080,
  sslPort: null,
  payload: null,
  registrationTimeUTC: 1_732_000_000_000,
  serviceType: 'DYNAMIC',
  uriSpec: null,
};

const spring = (metadata: Record<string, unknown>) => ({
  ...CURATOR,
  payload: {
    '@class': 'org.springframework.cloud.zookeeper.discovery.ZookeeperInstance',
    id: 'web-1',
    name: 'web',
    metadata,
  },
});

describe('a node of ZooKeeper', () => {
  it.each([
    ['a bare address', '10.0.0.7:80', { host: '10.0.0.7', port: 80, state: 'up' }],
    ['plain JSON', { host: '10.0.0.7', port: 80, weight: 3 }, { port: 80, weight: 3 }],
    ['plain JSON with an id of its own', { host: '10.0.0.7', port: 80, id: 'other' }, { id: 'a' }],
    ['Curator', CURATOR, { host: '10.0.0.7', port: 8080, state: 'up', secure: false, id: 'a' }],
    ['Curator, enabled', { ...CURATOR, enabled: true }, { state: 'up' }],
    ['Curator, disabled', { ...CURATOR, enabled: false }, { state: 'down', stateReason: 'enabled is false' }],
    ['Curator with a secure port', { ...CURATOR, sslPort: 8443 }, { port: 8443, secure: true }],
    ['Curator with a secure port only', { ...CURATOR, port: null, sslPort: 8443 }, { port: 8443, secure: true }],
    ['Spring, up', spring({ instance_status: 'UP' }), { state: 'up' }],
    [
      'Spring, out of service',
      spring({ instance_status: 'OUT_OF_SERVICE' }),
      { state: 'down', stateReason: 'OUT_OF_SERVICE' },
    ],
    ['Spring with metadata', spring({ zone: 'z', version: '2', weight: '4' }), { zone: 'z', version: '2', weight: 4 }],
    ['Spring with a nonsensical weight', spring({ weight: '-4' }), { weight: 1 }],
  ])('%s', (_, value, wanted) => {
    expect(parse(value)).toMatchObject({ ok: true, instance: wanted });
  });

  it('takes its address from its name where it holds nothing', () => {
    const parsed = parse('', 'auto', { service: 'web', id: '10.0.0.7-80', node: '10.0.0.7:80' });
    expect(parsed).toMatchObject({ ok: true, instance: { id: '10.0.0.7-80', host: '10.0.0.7', port: 80 } });
    expect(parse('')).toMatchObject({ ok: false });
  });

  it('keeps the texts of a payload as metadata, and leaves out what is Jackson’s', () => {
    const parsed = parse(spring({ team: 'pay', shard: 3, nested: {}, '@class': 'x' }));
    expect(parsed.ok && [...parsed.instance.metadata]).toEqual([
      ['team', 'pay'],
      ['shard', '3'],
    ]);
    const flat = parse({ ...CURATOR, payload: { '@class': 'x', team: 'pay' } });
    expect(flat.ok && [...flat.instance.metadata]).toEqual([['team', 'pay']]);
  });

  it.each([
    ['no JSON', '{"host":', 'auto', 'not JSON'],
    ['no address', { host: 'a b', port: 80 }, 'auto', 'host'],
    ['no port', { ...CURATOR, port: null }, 'auto', 'port'],
    ['port 0', { ...CURATOR, port: 0 }, 'auto', 'port'],
    ['no address in Curator', { ...CURATOR, address: null }, 'auto', 'address'],
    ['Curator where plain is wanted', CURATOR, 'plain', 'host'],
    ['plain where Curator is wanted', { host: '10.0.0.7', port: 80 }, 'curator', 'address'],
    ['bare where Spring is wanted', '10.0.0.7:80', 'spring', 'registries[].layout spring'],
    ['too large', `"${'x'.repeat(70_000)}"`, 'auto', '65536 are allowed'],
  ] as const)('is refused with a reason: %s', (_, value, layout, why) => {
    const parsed = parse(value, layout);
    expect(parsed.ok ? '' : parsed.why).toContain(why);
  });

  it('never throws, and lets only what is sound through, whatever it holds', () => {
    const anything = fc.oneof(
      fc.json(),
      fc.string(),
      fc.record({ address: fc.anything(), port: fc.anything(), payload: fc.anything() }).map((value) => {
        try {
          return JSON.stringify(value);
        } catch {
          return '{}';
        }
      }),
    );
    fc.assert(
      fc.property(anything, fc.constantFrom('auto', 'plain', 'curator', 'spring'), (text, layout) => {
        const parsed = parse(text, layout);
        if (!parsed.ok) return;
        expect(isName(parsed.instance.id)).toBe(true);
        expect(parsed.instance.port).toBeGreaterThan(0);
      }),
    );
  });
});
