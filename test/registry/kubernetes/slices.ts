import type { SliceObject } from '../../servers/kubernetes.ts';

/** An endpoint without conditions: the API means ready. */
export function ready(
  address: string,
  part: { readonly pod?: string | undefined; readonly zone?: string | undefined; readonly node?: string } = {},
): Record<string, unknown> {
  const { pod, zone, node } = part;
  return {
    addresses: [address],
    ...(zone === undefined ? {} : { zone }),
    ...(node === undefined ? {} : { nodeName: node }),
    ...(pod === undefined ? {} : { targetRef: { kind: 'Pod', namespace: 'default', name: pod } }),
  };
}

/** What a pod is while it shuts down and still answers. */
export const DRAINING = { conditions: { ready: false, serving: true, terminating: true } };
export const NOT_READY = { conditions: { ready: false, serving: false, terminating: false } };

export function slice(
  service: string,
  name: string,
  endpoints: readonly unknown[],
  part: { readonly namespace?: string; readonly labels?: Record<string, string>; readonly ports?: unknown[] } = {},
): SliceObject {
  const { namespace = 'default', labels = {}, ports = [{ name: 'http', port: 8080, protocol: 'TCP' }] } = part;
  return {
    metadata: { name, namespace, labels: { 'kubernetes.io/service-name': service, ...labels } },
    addressType: 'IPv4',
    endpoints,
    ports,
  };
}

export function kubeconfigFor(server: string, token: string): string {
  return JSON.stringify({
    apiVersion: 'v1',
    kind: 'Config',
    'current-context': 'test',
    clusters: [{ name: 'c', cluster: { server } }],
    users: [{ name: 'u', user: { token } }],
    contexts: [{ name: 'test', context: { cluster: 'c', user: 'u' } }],
  });
}
