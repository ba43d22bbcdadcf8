import { createHash } from 'node:crypto';
import { isName } from '../../core/names.ts';

const LONGEST_READABLE = 100;

/**
 * The id of an instance that brought none: `web-10.0.0.7-8080`. Made of what it stands for, so that people can read it
 * and that a registration lost with its disk comes back under the same id, with its history.
 */
export function generateId(service: string, host: string, port: number, isFree: (id: string) => boolean): string {
  const readable = `${service}-${host.replaceAll(':', '-')}-${port}`;
  if (readable.length <= LONGEST_READABLE && isName(readable) && isFree(readable)) return readable;
  const prefix = readable.slice(0, LONGEST_READABLE);
  // Two addresses can read alike (a-b and c, a and b-c), and anyone may have taken the readable id for another one.
  for (let attempt = 0; ; attempt++) {
    const digest = createHash('sha256')
      .update(JSON.stringify([service, host, port, attempt]))
      .digest('hex');
    const id = `${prefix}-${digest.slice(0, 12)}`;
    if (isFree(id)) return id;
  }
}
