import { expect } from 'vitest';

/** What keeps the event loop alive just now, by type: sockets, servers, timers, file watchers, requests to the system. */
function openResources(): Map<string, number> {
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
  const before = openResources();
  await use();
  const deadline = performance.now() + withinMs;
  // Closing takes turns of the event loop, and the test runner has timers of its own: only what stays counts.
  while (leaked(before).length > 0 && performance.now() < deadline)
    await new Promise((resolve) => setTimeout(resolve, 20));
  expect(leaked(before)).toEqual([]);
}

function leaked(before: ReadonlyMap<string, number>): string[] {
  // The timer that waits between two looks has fired when this runs; vitest's own come and go.
  return [...openResources()].flatMap(([type, count]) => {
    const more = count - (before.get(type) ?? 0);
    return more > 0 && type !== 'Immediate' ? [`${type} +${more}`] : [];
  });
}
