/** Registers and deregisters in a loop, and says on stdout what was acknowledged. Killed by its parent at any moment. */
import { systemClock } from '../../../src/core/clock.ts';
import { instance } from '../../../src/core/instance.ts';
import { EmbeddedRegistry } from '../../../src/registry/embedded/registry.ts';

const [dataDir = '', life = ''] = process.argv.slice(2);
const registry = await EmbeddedRegistry.open({
  dataDir,
  owner: { pid: process.pid, isAlive: () => false },
  clock: systemClock,
  log: () => undefined,
  // Small, so that kills also fall into rewrites of the log.
  compactAboveBytes: 20_000,
});

let number = 0;
const lane = async (host: string): Promise<never> => {
  while (true) {
    const id = `${life}-${(number += 1)}`;
    const of = instance({ id, service: 'web', host, port: 1 + (number % 65_535) });
    const result = await registry.register({ instance: of, id, ttlMs: undefined, idScope: 'service' });
    if (result.kind !== 'registered') throw new Error(JSON.stringify(result));
    process.stdout.write(`+ ${id}\n`);
    if (number % 3 === 0) {
      // Announced first: whether a removal that was not answered has happened cannot be known.
      process.stdout.write(`? ${id}\n`);
      await registry.deregister(id);
      process.stdout.write(`- ${id}\n`);
    }
  }
};
// Every life has addresses of its own: nothing replaces anything.
await Promise.all([1, 2, 3, 4].map((at) => lane(`10.0.${life.replaceAll(/\D/g, '')}.${at}`)));
