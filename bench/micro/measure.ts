/** CPU time and garbage of one short operation, in this process. Read the medians: the machine is shared. */

const ROUNDS = 9;
const PER_ROUND = 100_000;

export function collect(): void {
  if (!globalThis.gc) throw new Error('run with node --expose-gc');
  globalThis.gc();
}

/**
 * Prints nanoseconds of CPU time of the whole process, collector included (median, best and worst of nine rounds), and
 * bytes of garbage per call.
 */
export async function measure(name: string, run: () => unknown, perRound = PER_ROUND): Promise<void> {
  for (let call = 0; call < perRound; call++) run();
  const times: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    // Lets promise jobs end and the optimizer work between rounds.
    await new Promise((resolve) => setTimeout(resolve, 5));
    collect();
    const before = process.cpuUsage();
    for (let call = 0; call < perRound; call++) run();
    const { user, system } = process.cpuUsage(before);
    times.push((1000 * (user + system)) / perRound);
  }
  times.sort((one, other) => one - other);
  const [best, median, worst] = [0, ROUNDS >> 1, ROUNDS - 1].map((at) => format(times[at] ?? Number.NaN));
  console.log(`${name}: ${median} ns (${best} to ${worst}), ${garbage(run, perRound).toFixed(0)} B`);
}

/** Few enough calls that no collection falls among them; the least of several, since other things allocate too. */
function garbage(run: () => unknown, perRound: number): number {
  const calls = Math.min(1000, perRound);
  let least = Infinity;
  for (let round = 0; round < 7; round++) {
    collect();
    const before = process.memoryUsage();
    for (let call = 0; call < calls; call++) run();
    const after = process.memoryUsage();
    const bytes = after.heapUsed + after.external - before.heapUsed - before.external;
    if (bytes >= 0) least = Math.min(least, bytes / calls);
  }
  return least;
}

/** Bytes on the heap that each of `count` creations keeps. */
export function retainedBytes(count: number, create: () => unknown): number {
  const kept: unknown[] = [create()];
  collect();
  const before = process.memoryUsage().heapUsed;
  for (let made = 0; made < count; made++) kept.push(create());
  collect();
  const bytes = process.memoryUsage().heapUsed - before;
  // Uses what it has kept, so that it is kept.
  if (kept.length !== count + 1) throw new Error('lost some');
  return bytes / count;
}

function format(value: number): string {
  return value >= 100 ? value.toFixed(0) : value.toPrecision(3);
}
