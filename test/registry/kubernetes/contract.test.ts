import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '../../../src/core/clock.ts';
import type { Instance } from '../../../src/core/instance.ts';
import { seededRandom } from '../../../src/core/random.ts';
import type { OnSkip, RegistryBackend } from '../../../src/registry/backend.ts';
import { KubernetesBackend } from '../../../src/registry/kubernetes/kubernetes-backend.ts';
import { registryBackendContract, type RegistryHarness } from '../../contract/registry-backend.ts';
import { FakeKubernetes } from '../../servers/kubernetes.ts';
import { TcpProxy } from '../../servers/tcp-proxy.ts';
import { kubeconfigFor, ready, slice } from './slices.ts';

/**
 * No API server can be had for tests: this is the contract against a fixture that lists and watches as one does. One
 * slice for each instance, as the smallest cut of a service into slices.
 */
async function harness(): Promise<RegistryHarness> {
  const cluster = await FakeKubernetes.start();
  cluster.bookmarkMs = 300;
  cluster.tokens = new Set(['good']);
  const proxy = await TcpProxy.to(cluster.port);
  const folder = await mkdtemp(join(tmpdir(), 'fairlead-k8s-'));
  const [good, bad] = [join(folder, 'good'), join(folder, 'bad')];
  await writeFile(good, kubeconfigFor(`http://127.0.0.1:${proxy.port}`, 'good'));
  await writeFile(bad, kubeconfigFor(cluster.url, 'stolen'));
  let frozen = false;
  const make = (file: string, onSkip: OnSkip): RegistryBackend =>
    new KubernetesBackend({
      name: 'k8s',
      access: { kind: 'kubeconfig', file, context: undefined },
      namespaces: ['default'],
      connectMs: 1000,
      requestMs: 1000,
      idleMs: 1000,
      clock: systemClock,
      random: seededRandom(1),
      onSkip,
    });
  const nameOf = (instance: Instance): string => `${instance.service}.${instance.id}`;
  return {
    backend: ({ onSkip }) => make(good, onSkip),
    register: (instance) => {
      const { service, id, host, port, zone, secure, state } = instance;
      const endpoint = { ...ready(host, { pod: id, zone }), conditions: { ready: state !== 'down' } };
      const ports = [{ name: 'http', port, appProtocol: secure ? 'https' : 'http' }];
      cluster.apply(slice(service, nameOf(instance), [endpoint], { ports }));
      return Promise.resolve();
    },
    deregister: (instance) => {
      cluster.delete('default', nameOf(instance));
      return Promise.resolve();
    },
    registerHostile: (service) => {
      cluster.apply(slice(service, `${service}.hostile`, [ready('10.0.0.1 80'), { addresses: [] }, 'nothing', null]));
      cluster.apply(slice(service, `${service}.portless`, [ready('10.0.0.9')], { ports: [{ name: 'x', port: 0 }] }));
      return Promise.resolve();
    },
    lose: () => cluster.stop(),
    freeze: () => {
      frozen = true;
      proxy.blackHole();
      return Promise.resolve();
    },
    restore: async () => {
      if (frozen) proxy.heal();
      else await cluster.listen();
      frozen = false;
    },
    restartEmpty: () => cluster.restartEmpty(),
    refusedBackend: () => make(bad, () => undefined),
    close: async () => {
      await proxy[Symbol.asyncDispose]();
      await cluster[Symbol.asyncDispose]();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

registryBackendContract('kubernetes', harness, {
  carries: ['id', 'zone', 'secure', 'state'],
  lacks: { unicode: 'an endpoint has no texts of its own' },
  lossNames: { address: /http:\/\/127\.0\.0\.1:\d+/, setting: /registries\[\]\.kubeconfig/ },
  refusalNames: /registries\[\]\.kubeconfig/,
  halfOpenMs: 5000,
});
