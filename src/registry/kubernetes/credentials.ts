import { open } from 'node:fs/promises';
import { isIPv6 } from 'node:net';
import { join } from 'node:path';
import { RegistryRefusal } from '../backend.ts';
import { messageOf } from '../network-fault.ts';
import type { TlsMaterial } from '../tls-material.ts';
import { parseKubeconfig } from './kubeconfig.ts';

/** Where the API server is, and as whom we speak to it. */
export type ClusterAccess =
  /** The service account of our own pod. */
  | {
      readonly kind: 'in-cluster';
      /** `KUBERNETES_SERVICE_HOST` and `KUBERNETES_SERVICE_PORT` of the environment. */
      readonly host: string | undefined;
      readonly port: string | undefined;
      /** Where the kubelet mounts `token` and `ca.crt`. Default: `SERVICE_ACCOUNT_FOLDER`. */
      readonly folder?: string | undefined;
    }
  | { readonly kind: 'kubeconfig'; readonly file: string; readonly context: string | undefined };

export interface Credentials {
  /** Base address of the API server. */
  readonly server: string;
  readonly tls: TlsMaterial;
  readonly token: string | undefined;
}

export const SERVICE_ACCOUNT_FOLDER = '/var/run/secrets/kubernetes.io/serviceaccount';

const MAX_FILE_BYTES = 1_048_576;

/** Reads everything anew: tokens and certificates are replaced while we run. Throws a refusal that names what to mend. */
export async function readCredentials(access: ClusterAccess, registry: string): Promise<Credentials> {
  return access.kind === 'in-cluster' ? inCluster(access, registry) : fromKubeconfig(access, registry);
}

async function inCluster(access: ClusterAccess & { kind: 'in-cluster' }, registry: string): Promise<Credentials> {
  const { host, port, folder = SERVICE_ACCOUNT_FOLDER } = access;
  if (host === undefined || host === '' || port === undefined || port === '') {
    throw new RegistryRefusal(
      `registry "${registry}": KUBERNETES_SERVICE_HOST or KUBERNETES_SERVICE_PORT is not set, so this is no pod; outside of the cluster set registries[].kubeconfig`,
    );
  }
  const advice = 'check automountServiceAccountToken of the pod, or set registries[].kubeconfig';
  const token = (await readText(join(folder, 'token'), registry, advice)).trim();
  if (token === '') throw new RegistryRefusal(`registry "${registry}": ${join(folder, 'token')} is empty; ${advice}`);
  const ca = await readText(join(folder, 'ca.crt'), registry, advice);
  return { server: `https://${isIPv6(host) ? `[${host}]` : host}:${port}`, tls: { ca }, token };
}

async function fromKubeconfig(access: ClusterAccess & { kind: 'kubeconfig' }, registry: string): Promise<Credentials> {
  const advice = 'check registries[].kubeconfig';
  const text = await readText(access.file, registry, advice);
  const parsed = parseKubeconfig(text, access.file, access.context);
  if (!parsed.ok) throw new RegistryRefusal(`registry "${registry}": kubeconfig ${access.file}: ${parsed.why}`);
  const { server, token, verify, serverName } = parsed.access;
  const load = async (source: (typeof parsed.access)['ca']): Promise<string | undefined> => {
    if (source === undefined) return undefined;
    return source.kind === 'text' ? source.text : readText(source.file, registry, `${access.file} names it; ${advice}`);
  };
  const [ca, cert, key, secret] = await Promise.all([
    load(parsed.access.ca),
    load(parsed.access.cert),
    load(parsed.access.key),
    load(token),
  ]);
  const trimmed = secret?.trim();
  return { server, tls: { ca, cert, key, verify, serverName }, token: trimmed === '' ? undefined : trimmed };
}

async function readText(file: string, registry: string, advice: string): Promise<string> {
  try {
    const handle = await open(file, 'r');
    try {
      const buffer = Buffer.alloc(MAX_FILE_BYTES + 1);
      let size = 0;
      for (let read = -1; read !== 0 && size < buffer.length; size += read) {
        read = (await handle.read(buffer, size, buffer.length - size, null)).bytesRead;
      }
      if (size > MAX_FILE_BYTES) throw new Error(`it is larger than ${MAX_FILE_BYTES} bytes`);
      return buffer.toString('utf8', 0, size);
    } finally {
      await handle.close();
    }
  } catch (error) {
    throw new RegistryRefusal(`registry "${registry}": cannot read ${file}: ${messageOf(error)}; ${advice}`, {
      cause: error,
    });
  }
}
