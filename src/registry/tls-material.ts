import { createSecureContext } from 'node:tls';
import { explainNetworkError, RegistryUnreachable, type RegistryLabel } from './network-fault.ts';

/** PEM texts, not file names: whoever builds a client reads the files, and reads them again when they rotate. */
export interface TlsMaterial {
  /** Authorities to trust in place of the system's. */
  readonly ca?: string | undefined;
  /** Our own certificate and its key, where the registry asks for one. */
  readonly cert?: string | undefined;
  readonly key?: string | undefined;
  /** false: accept any certificate. Whoever sits in between can then feed the gateway instances of their own. */
  readonly verify?: boolean | undefined;
  /** The name expected in the certificate, where it is not the host of the address. */
  readonly serverName?: string | undefined;
}

export interface NodeTlsOptions {
  ca?: string;
  cert?: string;
  key?: string;
  rejectUnauthorized: boolean;
  servername?: string;
}

export function tlsOptions(material: TlsMaterial | undefined): NodeTlsOptions {
  const options: NodeTlsOptions = { rejectUnauthorized: material?.verify ?? true };
  if (material?.ca !== undefined) options.ca = material.ca;
  if (material?.cert !== undefined) options.cert = material.cert;
  if (material?.key !== undefined) options.key = material.key;
  if (material?.serverName !== undefined) options.servername = material.serverName;
  return options;
}

/** Throws `RegistryUnreachable` where the PEM texts cannot be used: Node would throw in the middle of a request. */
export function checkTlsMaterial(material: TlsMaterial | undefined, label: RegistryLabel, endpoint: string): void {
  if (!material) return;
  try {
    createSecureContext(tlsOptions(material));
  } catch (error) {
    throw new RegistryUnreachable(label, endpoint, explainNetworkError(error, label, true), error);
  }
}
