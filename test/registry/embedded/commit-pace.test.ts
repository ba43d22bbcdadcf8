import { expect, it } from 'vitest';
import type { EmbeddedRegistry } from '../../../src/registry/embedded/registry.ts';
import { openRegistry, register, request } from './fixture.ts';

/** The commit of the opening is one of nine that come at once. */
async function useBurst(registry: EmbeddedRegistry): Promise<void> {
  for (let turn = 0; turn < 8; turn++) await register(registry, { id: `first-${turn}`, port: 1000 + turn });
}

it('takes a storm of changes together, one commit in each interval, and none of it is lost', async () => {
  const { registry, clock } = await openRegistry({ commitEveryMs: 5 });
  await useBurst(registry);
  const { appends } = registry.figures;
  const all = Promise.all(
    Array.from({ length: 30 }, (_, turn) => registry.register(request({ id: `then-${turn}`, port: 2000 + turn }))),
  );
  clock.advance(4.9);
  await new Promise((resolve) => setImmediate(resolve));
  expect(registry.figures).toMatchObject({ pending: 30, appends });
  clock.advance(0.2);
  await all;
  expect(registry.figures).toMatchObject({ pending: 0, appends: appends + 1, instances: 38 });
});

it('does not wait for the pace when it closes', async () => {
  const { registry } = await openRegistry({ commitEveryMs: 5 });
  await useBurst(registry);
  const late = registry.register(request({ id: 'late', port: 2000 }));
  await registry.close();
  expect((await late).kind).toBe('unavailable');
});
