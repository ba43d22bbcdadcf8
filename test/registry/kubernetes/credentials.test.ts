import { mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { ManualClock } from '../../../src/core/clock.ts';
import { RegistryRefusal } from '../../../src/registry/backend.ts';
import type { ClusterAccess } from '../../../src/registry/kubernetes/credentials.ts';
import { parseKubeconfig } from '../../../src/registry/kubernetes/kubeconfig.ts';
import { RegistryUnreachable } from '../../../src/registry/network-fault.ts';
import { TestAuthority, type Certificate } from '../../servers/certificates.ts';
import type { FakeKubernetes } from '../../servers/kubernetes.ts';
import { ready, slice } from './slices.ts';
import { ALL, ended, KubernetesStage, seen } from './stage.ts';

let authority: TestAuthority;
let stranger: TestAuthority;
let server: Certificate;
let stage: KubernetesStage;
const base64 = (text: string): string => Buffer.from(text).toString('base64');

beforeAll(() => {
  authority = new TestAuthority();
  stranger = new TestAuthority('somebody else');
  server = authority.issue('kubernetes');
});
afterAll(() => {
  authority[Symbol.dispose]();
  stranger[Symbol.dispose]();
});
beforeEach(() => {
  stage = new KubernetesStage();
});
afterEach(() => stage[Symbol.asyncDispose]());

describe('in a pod', () => {
  let cluster: FakeKubernetes;
  let access: ClusterAccess & { readonly kind: 'in-cluster' };

  /** As the kubelet does it: a folder behind a link that is swapped. */
  function mount(token: string, ca = authority.ca.cert): void {
    const folder = join(stage.folder, `data-${performance.now()}`);
    mkdirSync(folder);
    writeFileSync(join(folder, 'token'), `${token}\n`);
    writeFileSync(join(folder, 'ca.crt'), ca);
    symlinkSync(folder, join(stage.folder, 'next'));
    renameSync(join(stage.folder, 'next'), join(stage.folder, 'account'));
  }

  beforeEach(async () => {
    cluster = await stage.cluster({ certificate: server });
    cluster.apply(slice('web', 'w', [ready('10.0.0.1')]));
    cluster.tokens = new Set(['first']);
    access = {
      kind: 'in-cluster',
      host: '127.0.0.1',
      port: String(cluster.port),
      folder: join(stage.folder, 'account'),
    };
    mount('first');
  });

  it('the token and the authority of the service account are used', async () => {
    await seen(stage.watch('', { access }), '10.0.0.1');
    expect(cluster.seenTokens[0]).toBe('first');
  });

  it('a token that is no longer accepted is read again at once, and the watch goes on', async () => {
    const observation = await stage.watch('', { access, credentialsMs: 3_600_000 }).synced(3000);
    await expect.poll(() => cluster.watching).toBe(1);
    mount('second');
    cluster.tokens = new Set(['second']);
    cluster.bookmark();
    cluster.endWatches();
    await expect.poll(() => cluster.watching).toBe(1);
    cluster.apply(slice('web', 'w', [ready('10.0.0.2')]));
    await seen(observation, '10.0.0.2');
    expect(cluster.seenTokens).toEqual(['first', 'first', 'first', 'second']);
    expect([observation.end, cluster.lists.length]).toEqual([undefined, 1]);
  });

  it('a token is read again when it is older than a minute, before anybody refuses it', async () => {
    const clock = new ManualClock();
    await stage.watch('', { access, clock }).synced(3000);
    await expect.poll(() => cluster.watching).toBe(1);
    mount('second');
    cluster.tokens = new Set(['first', 'second']);
    clock.advance(60_000);
    cluster.endWatches();
    await expect.poll(() => cluster.seenTokens).toEqual(['first', 'first', 'second']);
  });

  it('a token that stays refused is a refusal that names its file', async () => {
    cluster.tokens = new Set(['other']);
    const error = await ended(stage.watch('', { access }));
    expect(error).toBeInstanceOf(RegistryRefusal);
    expect(error.message).toContain(`does not accept our credentials (401: Unauthorized); check the service account`);
    expect(error.message).toContain(join(stage.folder, 'account/token'));
    expect(cluster.seenTokens).toEqual(['first', 'first']);
  });

  it('an authority that is replaced is used for the next request, and cuts no watch', async () => {
    const clock = new ManualClock();
    const observation = await stage.watch('', { access, clock }).synced(3000);
    await expect.poll(() => cluster.watching).toBe(1);
    mount('first', `${stranger.ca.cert}${authority.ca.cert}`);
    clock.advance(60_000);
    expect(cluster.watching).toBe(1);
    cluster.bookmark();
    cluster.endWatches();
    await expect.poll(() => cluster.watches.length).toBe(2);
    expect(observation.end).toBeUndefined();
  });

  it('an authority that did not sign the certificate is a loss that names its file', async () => {
    mount('first', stranger.ca.cert);
    const error = await ended(stage.watch('', { access }));
    expect(error).toBeInstanceOf(RegistryUnreachable);
    expect(error.message).toContain(`check ${join(stage.folder, 'account')}/ca.crt`);
    expect(cluster.seenTokens).toEqual([]);
  });

  it.each([
    ['no environment of a pod', { host: undefined }, 'KUBERNETES_SERVICE_HOST or KUBERNETES_SERVICE_PORT is not set'],
    ['no mounted account', { folder: '/nonexistent' }, 'cannot read /nonexistent/token'],
  ])('%s is a refusal that says what to set', async (_, part, message) => {
    const error = await ended(stage.watch('', { access: { ...access, ...part } }));
    expect(error).toBeInstanceOf(RegistryRefusal);
    expect(error.message).toContain(message);
    expect(error.message).toContain('set registries[].kubeconfig');
  });

  it('files that vanish while we run are no reason to leave, until the server says so', async () => {
    const clock = new ManualClock();
    const observation = await stage.watch('', { access, clock }).synced(3000);
    await expect.poll(() => cluster.watching).toBe(1);
    rmSync(join(stage.folder, 'account'));
    clock.advance(60_000);
    cluster.bookmark();
    cluster.endWatches();
    await expect.poll(() => cluster.watches.length).toBe(2);
    cluster.tokens = new Set();
    cluster.bookmark();
    cluster.endWatches();
    expect((await ended(observation)).message).toContain('cannot read');
  });
});

describe('a kubeconfig', () => {
  const YAML = `
apiVersion: v1
kind: Config
current-context: prod
preferences: {}
clusters:
  - name: c1
    cluster: { server: "https://one:6443", certificate-authority: pki/ca.pem, tls-server-name: kubernetes }
  - name: c2
    cluster: { server: "https://two:6443", insecure-skip-tls-verify: true, certificate-authority-data: ${base64('PEM')} }
users:
  - name: u1
    user: { token: ignored, tokenFile: /run/token }
  - name: u2
    user: { client-certificate: me.pem, client-key-data: ${base64('KEY')} }
  - name: helper
    user: { exec: { apiVersion: client.authentication.k8s.io/v1, command: aws, args: [eks, get-token] } }
  - name: old
    user: { auth-provider: { name: gcp } }
  - name: basic
    user: { username: admin, password: pw }
  - name: sudo
    user: { token: t, as: root }
contexts:
  - { name: prod, context: { cluster: c1, user: u1, namespace: shop } }
  - { name: test, context: { cluster: c2, user: u2 } }
  - { name: anonymous, context: { cluster: c2 } }
  - { name: eks, context: { cluster: c1, user: helper } }
  - { name: gke, context: { cluster: c1, user: old } }
  - { name: basic, context: { cluster: c1, user: basic } }
  - { name: sudo, context: { cluster: c1, user: sudo } }
  - { name: dangling, context: { cluster: nowhere, user: u1 } }
`;
  const parse = (context?: string, text = YAML): ReturnType<typeof parseKubeconfig> =>
    parseKubeconfig(text, '/etc/fairlead/kubeconfig', context);

  it('gives cluster and user of its current context, with files relative to itself', () => {
    expect(parse()).toEqual({
      ok: true,
      access: {
        server: 'https://one:6443',
        ca: { kind: 'file', file: '/etc/fairlead/pki/ca.pem' },
        cert: undefined,
        key: undefined,
        token: { kind: 'file', file: '/run/token' },
        verify: true,
        serverName: 'kubernetes',
      },
    });
  });

  it('gives those of the context that is asked for, with data out of itself', () => {
    expect(parse('test')).toEqual({
      ok: true,
      access: {
        server: 'https://two:6443',
        ca: { kind: 'text', text: 'PEM' },
        cert: { kind: 'file', file: '/etc/fairlead/me.pem' },
        key: { kind: 'text', text: 'KEY' },
        token: undefined,
        verify: false,
        serverName: undefined,
      },
    });
    expect(parse('anonymous')).toMatchObject({ ok: true, access: { token: undefined, cert: undefined } });
  });

  it.each([
    ['eks', 'user "helper" uses the exec plugin "aws", and no program is run for a registry; make a token'],
    ['gke', 'user "old" uses the auth-provider "gcp"'],
    ['basic', 'has a name and a password'],
    ['sudo', 'impersonates another user'],
    ['dangling', 'it has no cluster "nowhere"'],
    ['missing', 'it has no context "missing"; check registries[].context'],
    ['__proto__', 'it has no context "__proto__"'],
  ])('is refused with the reason: context %s', (context, why) => {
    expect(parse(context)).toEqual({ ok: false, why: expect.stringContaining(why) as string });
  });

  it.each([
    ['{', 'not YAML'],
    ['[]', 'expected object'],
    ['clusters: 7', 'clusters: '],
    ['', 'expected object'],
    ['kind: Config', 'it has no current-context: set registries[].context'],
  ])('that is none is refused with the reason: %j', (text, why) => {
    expect(parse(undefined, text)).toEqual({ ok: false, why: expect.stringContaining(why) as string });
  });

  it('with a client certificate lets us in where the server asks for one', async () => {
    const me = authority.issue('gateway');
    const cluster = await stage.cluster({ certificate: server, clientCa: authority.ca.cert });
    cluster.apply(slice('web', 'w', [ready('10.0.0.1')]));
    const config = (user: unknown): ClusterAccess => ({
      kind: 'kubeconfig',
      context: undefined,
      file: stage.file(
        JSON.stringify({
          'current-context': 'x',
          clusters: [
            { name: 'x', cluster: { server: cluster.url, 'certificate-authority-data': base64(authority.ca.cert) } },
          ],
          users: [{ name: 'x', user }],
          contexts: [{ name: 'x', context: { cluster: 'x', user: 'x' } }],
        }),
      ),
    });
    const data = { 'client-certificate': me.certFile, 'client-key-data': base64(me.key) };
    await seen(stage.watch('', { access: config(data) }), '10.0.0.1');
    const broken = { ...data, 'client-key-data': base64('no key') };
    const listing = stage.backend('', { access: config(broken) }).list(ALL, AbortSignal.timeout(3000));
    await expect(listing).rejects.toThrow('check certificate-authority, tls-server-name, client-certificate');
  });
});
