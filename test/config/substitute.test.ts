import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { substitute } from '../../src/config/substitute.ts';
import { load, mistakes } from './load-text.ts';

describe('a reference to the environment', () => {
  it.each([
    ['plain ${A} text', 'plain one text'],
    ['${A}${B:-two}', 'onetwo'],
    ['${EMPTY:-instead}', 'instead'],
    ['${EMPTY}', ''],
    ['${MISSING:-}', ''],
    ['${MISSING:-a:-b}', 'a:-b'],
    ['$${A} $A $ {A} $', '${A} $A $ {A} $'],
    ['${NESTED}', '${A}'],
  ])('%s becomes %s', (text, expected) => {
    const env = { A: 'one', EMPTY: '', NESTED: '${A}' };
    expect(substitute(text, env)).toMatchObject({ text: expected, problems: [] });
  });

  it('leaves text without references as it is', () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom('$', '{', '}', 'a', ':', '-', ' ') }), (text) => {
        fc.pre(!text.includes('${'));
        expect(substitute(text, { a: 'x' })).toMatchObject({ text, changed: false, problems: [] });
      }),
    );
  });

  it('hands on whatever a variable holds, without reading it', () => {
    fc.assert(
      fc.property(fc.string(), (value) => {
        expect(substitute('<${A}>', { A: value }).text).toBe(`<${value}>`);
      }),
    );
  });
});

describe('in the file', () => {
  it('what a variable holds changes neither the structure nor the lines', () => {
    const secret = 'x"\nadmin: { listen: "0.0.0.0:1" } # ';
    const text = 'log:\n  destination: "${FILE}"\nadmin:\n  lisen: 1';
    expect(mistakes(text, { FILE: secret })).toEqual([
      '2:16 log.destination: must not contain control characters',
      '4:3 admin.lisen: unknown key; did you mean listen?',
    ]);
  });

  it('a variable as a whole value is typed as if its text stood there', () => {
    const text =
      'workers: ${W}\nmetrics: { perInstance: "${M}" }\ngateway: { limits: { headBytes: "${S}" } }\ndefaults:\n  retry:\n    budget: ${B}';
    const config = load(text, { W: '3', M: 'false', S: '2048', B: '0.5' });
    expect(config.workers).toBe(3);
    expect(config.metrics.perInstance).toBe(false);
    expect(config.gateway.limits.headBytes).toBe(2048);
    expect(config.defaultPolicy.retry.budget).toBe(0.5);
  });

  it.each(['00123', '1e3', 'true', 'null', '~', '0x1F', '.5', '+1'])('%s stays text where text is wanted', (secret) => {
    const text = 'admin: { token: "${TOKEN}" }\nregistries: [{ type: consul, token: ${TOKEN} }]';
    const config = load(text.replace('token: ${TOKEN} }', 'token: "${TOKEN}" }'), { TOKEN: secret });
    expect(config.admin.token).toBe(secret);
    expect(config.registries[0]).toMatchObject({ token: secret });
    expect(load('admin:\n  token: ${TOKEN}', { TOKEN: secret }).admin.token).toBe(secret);
  });

  it('a part of a value is always text', () => {
    expect(load('gateway:\n  domain: a${N}', { N: '1' }).gateway.domain).toBe('a1');
  });

  it('an empty variable is a key not given', () => {
    expect(load('admin: { token: "${T:-}" }\nworkers: ${W}', { W: '' })).toMatchObject({
      admin: { token: undefined },
      workers: 'auto',
    });
  });

  it('a missing variable is the only mistake reported of its value', () => {
    expect(
      mistakes('registries:\n  - { type: consul, address: "http://${HOST}:8500" }\nadmin: { listen: "${L}" }'),
    ).toEqual([
      '2:30 registries[0].address: the environment variable HOST is not set; set it, or give a default: ${HOST:-default}',
      '3:18 admin.listen: the environment variable L is not set; set it, or give a default: ${L:-default}',
    ]);
  });

  it('a broken reference says how to write one', () => {
    expect(mistakes('admin: { token: "${A-b}" }')).toEqual([
      '1:17 admin.token: "${" begins a reference such as ${NAME} or ${NAME:-default}; write "$${" for the characters themselves',
    ]);
  });

  it('keys and comments are left alone', () => {
    expect(mistakes('# ${NOT_SET}\n"${A}": 1', { A: 'admin' })).toEqual([
      '2:1 "${A}": unknown key; known here: gateway, workers, admin, registries, defaults, services, shutdown, log, metrics',
    ]);
  });

  it('no message holds what a variable held', () => {
    const secret = 'hunter2';
    const text = `admin: { listen: "\${S}", token: "\${S} \${S}" }
workers: \${S}
gateway: { domain: "\${S}/", trustedProxies: ["\${S}"], limits: { headBytes: \${S}, headFields: \${S} } }
defaults: { balancer: \${S}, health: { type: \${S}, interval: \${S} } }
registries: [{ type: consul, address: "\${S}" }, { type: \${S} }, { type: dns, servers: "\${S}", services: { a: "\${S} " } }]
services: { a: { hosts: ["\${S}:1"], websocket: \${S}, retry: \${S} } }`.replaceAll(': ${S}', ': "${S}"');
    const found = mistakes(text, { S: secret });
    expect(found.length).toBeGreaterThan(12);
    expect(found.join('\n')).not.toContain(secret);
  });
});
