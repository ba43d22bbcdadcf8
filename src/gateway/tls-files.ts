import { readFile } from 'node:fs/promises';
import type { TlsConfig } from '../config/config.ts';
import type { TlsMaterial } from '../registry/tls-material.ts';

/** Reads the PEM files of a registry, anew at each call: certificates rotate. Rejects naming the setting. */
export function tlsFiles(registry: string, config: TlsConfig): () => Promise<TlsMaterial> {
  const read = async (setting: string, file: string | undefined): Promise<string | undefined> => {
    if (file === undefined) return undefined;
    try {
      return await readFile(file, 'utf8');
    } catch (error) {
      const code = error instanceof Error && 'code' in error ? String(error.code) : String(error);
      throw new Error(`registry ${registry}: cannot read ${file} (tls.${setting}): ${code}`, { cause: error });
    }
  };
  return async () => ({
    ca: await read('ca', config.caFile),
    cert: await read('cert', config.certFile),
    key: await read('key', config.keyFile),
    verify: config.verify,
    serverName: config.serverName,
  });
}
