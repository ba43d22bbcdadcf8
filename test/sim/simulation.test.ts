import { describe, expect, it } from 'vitest';
import { planOf } from './plan.ts';
import { Simulation, type RunFigures } from './simulation.ts';

const SEED = process.env['SIM_SEED'];
const RUNS = Number(process.env['SIM_RUNS'] ?? (process.env['CI'] === 'true' ? 1500 : 300));
const BLOCK = 100;

async function run(seed: number): Promise<RunFigures> {
  return new Simulation(planOf(seed)).run();
}

describe('the whole gateway among processes, registries, operators and clients that fail in every way', () => {
  if (SEED !== undefined) {
    it(`keeps the laws (seed ${SEED})`, async () => {
      console.log(planOf(Number(SEED)), await run(Number(SEED)));
    });
    return;
  }

  it.each(Array.from({ length: Math.ceil(RUNS / BLOCK) }, (_, block) => 1 + block * BLOCK))(
    `keeps the laws (${BLOCK} runs from seed %i on)`,
    async (first) => {
      let answered = 0;
      for (let seed = first; seed < first + BLOCK; seed++) answered += (await run(seed)).answered;
      // Laws that nobody puts to the test hold too.
      expect(answered).toBeGreaterThan(50 * BLOCK);
    },
    120_000,
  );

  it('does the same again for the same seed', async () => {
    for (const seed of [1, 2, 3, 4, 5]) expect(await run(seed)).toEqual(await run(seed));
  });
});
