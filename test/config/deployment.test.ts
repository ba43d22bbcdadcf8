import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { activatedSockets } from '../../src/gateway/activation.ts';
import { load } from './load-text.ts';

const read = (file: string): string => readFileSync(new URL(`../../config/${file}`, import.meta.url), 'utf8');

interface Manifest {
  readonly kind: string;
  readonly metadata: { readonly namespace?: string };
  readonly data?: Readonly<Record<string, string>>;
  readonly spec?: unknown;
}

interface Probe {
  readonly httpGet: { readonly path: string; readonly port: string };
}

interface PodSpec {
  readonly terminationGracePeriodSeconds: number;
  readonly containers: readonly [
    {
      readonly ports: readonly { readonly name: string; readonly containerPort: number }[];
      readonly startupProbe: Probe;
      readonly livenessProbe: Probe;
      readonly readinessProbe: Probe & { readonly periodSeconds: number; readonly failureThreshold: number };
      readonly lifecycle: { readonly preStop: { readonly sleep: { readonly seconds: number } } };
    },
  ];
}

describe('the Kubernetes manifests', () => {
  const documents = parseAllDocuments(read('kubernetes/fairlead.yaml'));
  const manifests = documents.map((document) => document.toJS() as Manifest);
  const of = (kind: string): Manifest => manifests.find((each) => each.kind === kind) as Manifest;
  const config = load(of('ConfigMap').data?.['fairlead.yaml'] ?? '', { FAIRLEAD_ADMIN_TOKEN: 'a' });
  const pod = (of('Deployment').spec as { template: { spec: PodSpec } }).template.spec;
  const [container] = pod.containers;

  it('are YAML, one of each kind that is needed', () => {
    for (const document of documents) expect(document.errors).toEqual([]);
    expect(manifests.map(({ kind }) => kind)).toEqual([
      'ServiceAccount',
      'Role',
      'RoleBinding',
      'ConfigMap',
      'Deployment',
      'PodDisruptionBudget',
      'Service',
    ]);
  });

  it('hold a configuration that is valid, watched, and listens where the container says', () => {
    expect(config.gateway.watchConfig).toBe(true);
    expect(config.registries[0]).toMatchObject({ type: 'kubernetes', namespaces: [of('Role').metadata.namespace] });
    expect(container.ports).toEqual([
      { name: 'http', containerPort: config.gateway.listen[0]?.port },
      { name: 'admin', containerPort: config.admin.listen.port },
    ]);
  });

  it('ask for what the gateway answers without a token, and wait for as long as it takes to stop', () => {
    for (const probe of [container.startupProbe, container.livenessProbe])
      expect(probe.httpGet).toEqual({ path: '/healthz', port: 'admin' });
    expect(container.readinessProbe.httpGet).toEqual({ path: '/readyz', port: 'admin' });
    const { acceptForMs, drainMs } = config.shutdown;
    const stopMs = container.lifecycle.preStop.sleep.seconds * 1000 + acceptForMs + drainMs;
    expect(pod.terminationGracePeriodSeconds * 1000).toBeGreaterThan(stopMs);
    const { periodSeconds, failureThreshold } = container.readinessProbe;
    expect(acceptForMs).toBeGreaterThan(periodSeconds * failureThreshold * 1000);
  });
});

describe('the systemd units', () => {
  const valueOf = (file: string, key: string): string | undefined =>
    new RegExp(`^${key}=(.*)$`, 'm').exec(read(`systemd/${file}`))?.[1];

  it('follow the pid file that the gateway is told to write', () => {
    expect(valueOf('fairlead.service', 'ExecStart')).toContain(
      ` --pid-file ${valueOf('fairlead.service', 'PIDFile') ?? '?'}`,
    );
  });

  it('wait for as long as the defaults take to stop', () => {
    const { acceptForMs, drainMs } = load('').shutdown;
    expect(Number(valueOf('fairlead.service', 'TimeoutStopSec')) * 1000).toBeGreaterThan(acceptForMs + drainMs);
  });

  it('tell the process that serves to stop while another one is the main one, and otherwise nobody', async () => {
    const pidFile = valueOf('fairlead.service', 'PIDFile') ?? '?';
    const [, script = ''] = /^-\/bin\/sh -c '(.*)'$/.exec(valueOf('fairlead.service', 'ExecStop') ?? '') ?? [];
    const directory = mkdtempSync(join(tmpdir(), 'fairlead-unit-'));
    const file = join(directory, 'pid');
    const serving = spawn('sleep', ['60']);
    const ended = new Promise((resolve) => serving.once('exit', (_, signal) => resolve(signal)));
    const { pid = 0 } = serving;
    const stop = (mainPid: number): void => {
      // As systemd.service(5) says: two of them stand for one.
      const command = script.replaceAll('$$', '$').replace(pidFile, file);
      spawnSync('/bin/sh', ['-c', command], { env: { PATH: process.env['PATH'], MAINPID: String(mainPid) } });
    };
    try {
      expect(script).toContain(pidFile);
      stop(1);
      writeFileSync(file, `${pid}\n`);
      stop(pid);
      expect([serving.exitCode, serving.signalCode]).toEqual([null, null]);
      stop(pid + 1);
      expect(await ended).toBe('SIGTERM');
    } finally {
      serving.kill('SIGKILL');
      rmSync(directory, { recursive: true });
    }
  });

  it('hand over the socket that the default configuration listens on', () => {
    const config = load('');
    const [{ host, port } = { host: '', port: 0 }] = config.gateway.listen;
    expect(valueOf('fairlead.socket', 'ListenStream')).toBe(`${host}:${port}`);
    const names = valueOf('fairlead.socket', 'FileDescriptorName');
    expect(activatedSockets({ LISTEN_PID: '7', LISTEN_FDS: '1', LISTEN_FDNAMES: names }, 7, config)).toEqual([
      { setting: 'gateway.listen', host, port, fd: 3, held: true },
    ]);
  });

  const analyze = spawnSync('systemd-analyze', ['--version']).status === 0;
  it.skipIf(!analyze)('please systemd-analyze, but for the program that is not installed here', () => {
    const file = new URL('../../config/systemd/fairlead.socket', import.meta.url).pathname;
    const { stderr } = spawnSync('systemd-analyze', ['verify', file], { encoding: 'utf8' });
    const complaints = stderr.split('\n').filter((line) => line !== '' && !line.includes('/usr/bin/fairlead'));
    expect(complaints).toEqual([]);
  });
});
