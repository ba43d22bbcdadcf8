import type { Verb } from './verb.ts';

/** All verbs but `help`, in the order in which it lists them. Loaded when asked for: `fairlead version` must not wait for the gateway's code. */
export const VERBS: ReadonlyMap<string, () => Promise<Verb>> = new Map([
  ['run', async () => (await import('./run.ts')).run],
  ['check', async () => (await import('./check.ts')).check],
  ['version', async () => (await import('./version.ts')).version],
]);
