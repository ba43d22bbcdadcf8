import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '../../../src/core/clock.ts';
import type { Interest } from '../../../src/registry/backend.ts';
import { KubernetesBackend, type KubernetesOptions } from '../../../src/registry/kubernetes/kubernetes-backend.ts';
import { Observation } from '../../contract/observation.ts';
import { FakeKubernetes, type FakeKubernetesPlan } from '../../servers/kubernetes.ts';
import { kubeconfigFor } from './slices.ts';

export const ALL: Interest = { kind: 'all' };

/** Clusters, files and watches of one test. Disposed of together. */
export class KubernetesStage {
  readonly folder = mkdtempSync(join(tmpdir(), 'fairlead-k8s-'));
  readonly skips: { service: string; id: string; why: string }[] = [];
  readonly #clusters: FakeKubernetes[] = [];
  readonly #watching: Observation[] = [];
  #files = 0;

  async cluster(plan?: FakeKubernetesPlan): Promise<FakeKubernetes> {
    const made = await FakeKubernetes.start(plan);
    this.#clusters.push(made);
    return made;
  }

  file(text: string, name = `file-${(this.#files += 1)}`): string {
    const path = join(this.folder, name);
    writeFileSync(path, text);
    return path;
  }

  backend(server: string, more: Partial<KubernetesOptions> = {}): KubernetesBackend {
    return new KubernetesBackend({
      name: 'k8s',
      access: { kind: 'kubeconfig', file: this.file(kubeconfigFor(server, 'good')), context: undefined },
      namespaces: ['default'],
      connectMs: 1000,
      requestMs: 1000,
      clock: systemClock,
      random: () => 0.5,
      onSkip: (what) => this.skips.push(what),
      ...more,
    });
  }

  watch(server: string, more: Partial<KubernetesOptions> = {}, interest = ALL): Observation {
    return this.observe(this.backend(server, more), interest);
  }

  observe(backend: KubernetesBackend, interest = ALL): Observation {
    const observation = new Observation(backend, interest);
    this.#watching.push(observation);
    return observation;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#watching.map((each) => each.stop()));
    await Promise.all(this.#clusters.map((each) => each[Symbol.asyncDispose]()));
    rmSync(this.folder, { recursive: true, force: true });
  }
}

export async function ended(observation: Observation): Promise<Error> {
  await observation.until('the end', () => observation.end !== undefined, 5000);
  return observation.end?.error as Error;
}

export function hosts(observation: Observation, service = 'web'): string {
  return observation
    .of(service)
    .filter((each) => each.state !== 'down')
    .map((each) => each.host)
    .join();
}

export function seen(observation: Observation, wanted: string, service = 'web'): Promise<void> {
  return observation.until(`${service}: ${wanted}`, () => hosts(observation, service) === wanted, 3000);
}
