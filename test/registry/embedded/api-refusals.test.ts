import { describe, expect, it } from 'vitest';
import { AddressPolicy } from '../../../src/core/address.ts';
import { errors, openApi, web } from './open-api.ts';

describe('what is refused', () => {
  const port = 'must be a whole number from 1 to 65535';
  const name = 'must be 1 to 128 characters of A-Z a-z 0-9 . _ - (and not ".", "..", "__proto__", "constructor")';
  it.each<[string, unknown, string[]]>([
    ['no port', { serviceName: 'web', host: '10.0.0.1' }, ['port: is missing']],
    ['port 70000', { ...web, port: 70_000 }, [`port: ${port}`]],
    ['port 0', { ...web, port: 0 }, [`port: ${port}`]],
    ['a port as text', { ...web, port: '80' }, [`port: ${port}`]],
    ['half a port', { ...web, port: 80.5 }, [`port: ${port}`]],
    ['nothing at all', {}, ['serviceName: is missing', 'host: is missing', 'port: is missing']],
    ['a list', [], ['body: must be an object']],
    ['null', null, ['body: must be an object']],
    ['a service with a path in it', { ...web, serviceName: '../x' }, [`serviceName: ${name}`]],
    ['an id with a path in it', { ...web, id: '../x' }, [`id: ${name}`]],
    ['the id __proto__', { ...web, id: '__proto__' }, [`id: ${name}`]],
    ['the service constructor', { ...web, serviceName: 'constructor' }, [`serviceName: ${name}`]],
    ['an id of 129 characters', { ...web, id: 'x'.repeat(129) }, [`id: ${name}`]],
    ['an id that is a number', { ...web, id: 7 }, [`id: ${name}`]],
    [
      'an unknown key',
      { ...web, prot: 80, name: 'x' },
      [
        'prot: is not known; known are serviceName, host, port, id, weight, zone, version, metadata, ttl, check',
        'name: is not known; known are serviceName, host, port, id, weight, zone, version, metadata, ttl, check',
      ],
    ],
    [
      'the key __proto__',
      '{"serviceName":"web","host":"10.0.0.1","port":80,"__proto__":{"port":1}}',
      ['__proto__: is not known; known are serviceName, host, port, id, weight, zone, version, metadata, ttl, check'],
    ],
    [
      'a host with a path',
      { ...web, host: 'a/b' },
      ['host: must be an IP address (IPv6 without brackets) or a host name (RFC 1123)'],
    ],
    [
      'a host in brackets',
      { ...web, host: '[::1]' },
      ['host: must be an IP address (IPv6 without brackets) or a host name (RFC 1123)'],
    ],
    [
      'a host in hexadecimal',
      { ...web, host: '0x7f.1' },
      ['host: must be an IP address (IPv6 without brackets) or a host name (RFC 1123)'],
    ],
    [
      'a host with CR LF',
      { ...web, host: 'a\r\nb' },
      ['host: must be an IP address (IPv6 without brackets) or a host name (RFC 1123)'],
    ],
    [
      'a link-local host',
      { ...web, host: '169.254.169.254' },
      ['host: is refused: 169.254.169.254 is a link-local address'],
    ],
    [
      'a link-local host in disguise',
      { ...web, host: '::ffff:a9fe:a9fe' },
      ['host: is refused: 169.254.169.254 is a link-local address'],
    ],
    ['an unspecified host', { ...web, host: '0.0.0.0' }, ['host: is refused: 0.0.0.0 is an unspecified address']],
    [
      'a listener of the gateway',
      { ...web, host: '127.0.0.1', port: 8761 },
      ['host: is refused: 127.0.0.1 port 8761 is a listener of this gateway: its traffic would come back to itself'],
    ],
    ['a weight of 0', { ...web, weight: 0 }, ['weight: must be a number above 0, at most 1000']],
    ['a weight above 1000', { ...web, weight: 1001 }, ['weight: must be a number above 0, at most 1000']],
    [
      'a zone with a control character',
      { ...web, zone: 'a\nb' },
      ['zone: must be text of 1 to 128 characters, without control characters'],
    ],
    [
      'an empty version',
      { ...web, version: '' },
      ['version: must be text of 1 to 128 characters, without control characters'],
    ],
    ['metadata that is a list', { ...web, metadata: ['a'] }, ['metadata: must be an object of texts']],
    [
      'metadata with numbers',
      { ...web, metadata: { a: 1, b: 'b', c: null } },
      ['metadata.a: must be text', 'metadata.c: must be text'],
    ],
    [
      'metadata of more than 4 KiB',
      { ...web, metadata: { a: 'x'.repeat(4096) } },
      ['metadata: must not be larger than 4096 bytes, keys and values together; it has 4097'],
    ],
    [
      'metadata with a key that is empty',
      { ...web, metadata: { '': 'x' } },
      ['metadata: must have keys of 1 to 128 characters'],
    ],
    [
      'a ttl below a second',
      { ...web, ttl: '500ms' },
      [expect.stringMatching(/^ttl: must be a duration .* from 1s to 24h$/) as string],
    ],
    ['a ttl of more than a day', { ...web, ttl: 86_401 }, [expect.stringMatching(/^ttl: must be/) as string]],
    ['a ttl without unit', { ...web, ttl: '30' }, [expect.stringMatching(/^ttl: must be/) as string]],
    ['a ttl that is no number', { ...web, ttl: true }, [expect.stringMatching(/^ttl: must be/) as string]],
    ['no JSON', '{', ['body: is not valid JSON']],
    ['nothing', '', ['body: is missing']],
  ])('is %s, naming the field and changing nothing', async (_, body, wanted) => {
    const { post, registry } = await openApi();
    const before = { index: registry.index, bytes: registry.figures.bytes };
    const answer = await post(body);
    expect(answer.status).toBe(400);
    expect(errors(answer)).toEqual(wanted);
    expect({ index: registry.index, bytes: registry.figures.bytes }).toEqual(before);
    expect(registry.services.size).toBe(0);
  });

  it.each<[string, unknown, string]>([
    [
      'a script',
      { type: 'script', command: ['rm'] },
      'check.type: must not be script: commands come only from the gateway’s own configuration',
    ],
    [
      'a ttl check',
      { type: 'ttl' },
      'check.type: must not be ttl: give the registration itself a ttl, and send heartbeats',
    ],
    ['a grpc check', { type: 'grpc' }, 'check.type: must not be grpc: configure it for the service, under health'],
    ['a check of no type', { path: '/' }, 'check.type: must be tcp, http or https'],
    ['text', 'tcp', 'check: must be an object'],
    [
      'a path without slash',
      { type: 'http', path: 'health' },
      'check.path: must be a path that begins with / and holds no spaces, "#" or control characters',
    ],
    [
      'a path with CR LF',
      { type: 'http', path: '/\r\nHost: x' },
      'check.path: must be a path that begins with / and holds no spaces, "#" or control characters',
    ],
    ['a header with CR LF', { type: 'http', headers: { a: 'b\r\nc: d' } }, 'check.headers.a: must be printable ASCII'],
    [
      'a header that is no name',
      { type: 'http', headers: { 'a b': 'c' } },
      'check.headers.a b: is not the name of a header',
    ],
    ['a Host header', { type: 'http', headers: { hOsT: 'c' } }, 'check.headers.hOsT: is set by the probe itself'],
    [
      'a framing header',
      { type: 'http', headers: { 'Transfer-Encoding': 'chunked' } },
      'check.headers.Transfer-Encoding: is set by the probe itself',
    ],
    [
      'too many headers',
      { type: 'http', headers: Object.fromEntries(Array.from({ length: 17 }, (_, at) => [`h${at}`, ''])) },
      'check.headers: must be at most 16 headers of 4096 characters in all',
    ],
    [
      'a method that changes something',
      { type: 'http', method: 'DELETE' },
      'check.method: must be GET, HEAD or OPTIONS',
    ],
    [
      'an interval of a millisecond',
      { type: 'tcp', interval: '1ms' },
      'check.interval: must be a duration such as "30s", or a number of seconds, from 1s to 1h',
    ],
    [
      'a timeout of an hour',
      { type: 'tcp', timeout: '1h' },
      'check.timeout: must be a duration such as "30s", or a number of seconds, from 10ms to 1m',
    ],
    [
      'a status that is none',
      { type: 'http', expect: ['2xx'] },
      'check.expect.0: must be a status such as 200, or a range such as "200-399"',
    ],
    [
      'a range the wrong way round',
      { type: 'http', expect: ['300-200'] },
      'check.expect.0: must be a status such as 200, or a range such as "200-399"',
    ],
    [
      'a path for tcp',
      { type: 'tcp', path: '/' },
      'check.path: is not known; known are type, name, port, interval, fastInterval, timeout, healthyThreshold, unhealthyThreshold',
    ],
    [
      'a host to connect to',
      { type: 'tcp', host: '10.9.9.9' },
      'check.host: is not known; known are type, name, port, interval, fastInterval, timeout, healthyThreshold, unhealthyThreshold',
    ],
    ['a Host with CR LF', { type: 'http', host: 'a\r\nb' }, 'check.host: must be a host, with or without port'],
    ['a port that is none', { type: 'tcp', port: 0 }, 'check.port: must be a whole number from 1 to 65535'],
  ])('is a check with %s', async (_, check, wanted) => {
    const { post } = await openApi();
    expect(errors(await post({ ...web, check }))).toEqual([wanted]);
  });

  it('is a check of a port that may not be connected to', async () => {
    const { post } = await openApi({
      addresses: new AddressPolicy({
        ports: [
          [80, 80],
          [8000, 8999],
        ],
        ownListeners: [{ host: '10.0.0.1', port: 8000 }],
      }),
    });
    expect(errors(await post({ ...web, check: { type: 'tcp', port: 22 } }))).toEqual([
      'check.port: is refused: port 22 is outside of gateway.upstreamAddresses.ports (80, 8000-8999)',
    ]);
    expect(errors(await post({ ...web, check: { type: 'tcp', port: 8000 } }))).toEqual([
      expect.stringContaining('check.port: is refused: 10.0.0.1 port 8000 is a listener') as string,
    ]);
    expect(errors(await post({ ...web, port: 22 }))).toEqual([
      'port: is refused: port 22 is outside of gateway.upstreamAddresses.ports (80, 8000-8999)',
    ]);
    expect((await post({ ...web, check: { type: 'tcp', port: 8080 } })).status).toBe(201);
  });

  it('follows the addresses that are allowed at the time', async () => {
    let policy = new AddressPolicy({ allow: ['10.0.0.0/8'] });
    const { post } = await openApi({ addresses: () => policy });
    expect((await post(web)).status).toBe(201);
    policy = new AddressPolicy({ deny: ['10.0.0.0/24'] });
    expect(errors(await post({ ...web, weight: 2 }))).toEqual([
      'host: is refused: 10.0.0.1 is in 10.0.0.0/24, which gateway.upstreamAddresses.deny names',
    ]);
  });

  it('is a body of 1 MiB, before it has been read', async () => {
    const { call, registry } = await openApi();
    const headers = { 'content-type': 'application/json' };
    const large = JSON.stringify({ ...web, metadata: { a: 'x'.repeat(1_048_576) } });
    expect((await call('POST', '/register', { headers, body: large })).status).toBe(413);
    let pulled = 0;
    const endless = new ReadableStream<Uint8Array>({
      pull(controller) {
        pulled += 16_384;
        controller.enqueue(new Uint8Array(16_384).fill(0x20));
      },
    });
    expect((await call('POST', '/register', { headers, body: endless, duplex: 'half' })).status).toBe(413);
    expect(pulled).toBeLessThan(150_000);
    expect((await call('POST', '/register', { headers, body: JSON.stringify(web).padEnd(65_536) })).status).toBe(201);
    expect(registry.services.size).toBe(1);
  });

  it('is a body that does not arrive in time', async () => {
    const { call, clock } = await openApi({ bodyTimeoutMs: 5000 });
    const stuck = new ReadableStream<Uint8Array>();
    const answer = call('POST', '/register', {
      headers: { 'content-type': 'application/json' },
      body: stuck,
      duplex: 'half',
    });
    await expect.poll(() => clock.pending).toBe(1);
    clock.advance(5000);
    expect((await answer).status).toBe(408);
  });

  it.each([
    ['another type', { 'content-type': 'text/plain' }],
    ['a form, as curl -d sends it', { 'content-type': 'application/x-www-form-urlencoded' }],
    ['compression', { 'content-type': 'application/json', 'content-encoding': 'gzip' }],
  ])('is a body of %s', async (_, headers) => {
    const { call } = await openApi();
    const answer = await call('POST', '/register', { headers, body: JSON.stringify(web) });
    expect(answer.status).toBe(415);
    expect(answer.body).toMatchObject({
      detail: expect.stringContaining("curl: -H 'Content-Type: application/json'") as string,
    });
  });

  it('is text that is not UTF-8', async () => {
    const { call } = await openApi();
    const body = new Uint8Array([0x7b, 0xff, 0x7d]);
    expect(
      errors(await call('POST', '/register', { headers: { 'content-type': 'application/json; charset=utf-8' }, body })),
    ).toEqual(['body: is not valid UTF-8']);
  });

  it('is named twenty times at most', async () => {
    const { post } = await openApi();
    const answer = await post({
      ...web,
      ...Object.fromEntries(Array.from({ length: 100 }, (_, at) => [`${'k'.repeat(200)}${at}`, 1])),
    });
    expect(errors(answer)).toHaveLength(20);
    expect(errors(answer)[0]?.split(':')[0]).toHaveLength(100);
  });

  it.each([
    ['PUT', '/heartbeat/..%2Fx', 400],
    ['PUT', '/heartbeat/__proto__', 400],
    ['PUT', '/heartbeat/%00', 400],
    ['DELETE', '/deregister/constructor', 400],
    ['DELETE', '/deregister/a%20b', 400],
    ['PUT', '/heartbeat/x?service=..', 400],
    ['GET', '/services/..%2Fx/instances', 400],
    ['GET', '/services/web/instances?healthy=yes', 400],
    ['GET', '/services/web/instances?index=-1', 400],
    ['GET', '/services/web/instances?index=1e3', 400],
    ['GET', '/services/web/instances?index=0&wait=5', 400],
    ['GET', '/watch?service=a,..', 400],
    ['GET', '/nothing', 404],
    ['GET', '/', 404],
    ['GET', '/register', 405],
    ['POST', '/heartbeat/x', 405],
    ['GET', '/deregister/x', 405],
    ['POST', '/services', 405],
    ['DELETE', '/services/web/instances', 405],
    ['POST', '/watch', 405],
  ])('%s %s is answered with %i', async (method, path, status) => {
    const { call } = await openApi();
    const answer = await call(method, path);
    expect(answer.status).toBe(status);
    errors(answer);
    if (status === 405) expect(answer.headers.get('allow')).toMatch(/^[A-Z]+$/);
    // Whoever opens the port in a browser finds out what it is.
    if (status === 404)
      expect(answer.body).toMatchObject({ detail: expect.stringContaining('POST /register') as string });
  });
});
