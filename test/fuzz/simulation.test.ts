import { describe, expect, it } from 'vitest';
import { Simulation } from './simulation.ts';

describe('clients and instances that do what they like', () => {
  it('get each answer to its request, whole or visibly broken, and leave nothing behind', async () => {
    let answered = 0;
    for (let seed = 1; seed <= 40; seed++) {
      const simulation = new Simulation(seed);
      await simulation.run(60);
      answered += simulation.answered;
    }
    expect(answered).toBeGreaterThan(500);
    // So many runs on a machine that does other things, too: nothing here is about time.
  }, 300_000);
});
