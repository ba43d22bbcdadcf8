import { expect } from 'vitest';

/** What keeps the event loop alive, by type: sockets, servers, timers, file watchers, requests to the system. */
type Tally = ReadonlyMap<string, number>;

function openResources(): Tally {
  const tally = new Map<string, number>();
  for (const type of process.getActiveResourcesInfo()) tally.set(type, (tally.get(type) ?? 0) + 1);
  return tally;
}

/**
 * Runs `use` twice and expects that the second run leaves nothing open that was not open before it. The first one
 * warms up what is opened once and kept (a pool of the harness, a thread of the runtime).
 */
export async function expectReleased(use: () => Promise<void>, withinMs = 3000): Promise<void> {
  await use();
  const before = await lasting();
  await use();
  const deadline = performance.now() + withinMs;
  // Closing takes turns of the event loop: only what stays counts.
  while (more(openResources(), before).length > 0 && performance.now() < deadline) await pause();
  expect(more(openResources(), before)).toEqual([]);
}

/** The least of each type over a while: the test runner has timers of its own, which come and go. */
async function lasting(): Promise<Tally> {
  let least = openResources();
  for (let look = 0; look < 15; look += 1) {
    await pause();
    const now = openResources();
    least = new Map([...least].map(([type, count]) => [type, Math.min(count, now.get(type) ?? 0)]));
  }
  return least;
}

/** Without a timer of its own: that would be counted. */
async function pause(): Promise<void> {
  const endMs = performance.now() + 15;
  while (performance.now() < endMs) await new Promise((resolve) => setImmediate(resolve));
}

function more(now: Tally, before: Tally): string[] {
  return [...now].flatMap(([type, count]) => {
    const extra = count - (before.get(type) ?? 0);
    return extra > 0 && type !== 'Immediate' ? [`${type} +${extra}`] : [];
  });
}
