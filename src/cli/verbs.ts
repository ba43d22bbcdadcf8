import type { Verb } from './verb.ts';

/**
 * All verbs but `help`, in the order in which it lists them. Loaded when asked for: `fairlead version` must not wait for
 * the gateway's code.
 */
export const VERBS: ReadonlyMap<string, () => Promise<Verb>> = new Map([
  ['run', async () => (await import('./run.ts')).run],
  ['check', async () => (await import('./check.ts')).check],
  ['status', async () => (await import('./status.ts')).status],
  ['explain', async () => (await import('./explain.ts')).explain],
  ['drain', async () => (await import('./drain.ts')).drain],
  ['undrain', async () => (await import('./undrain.ts')).undrain],
  ['upgrade', async () => (await import('./upgrade.ts')).upgrade],
  ['diff', async () => (await import('./diff.ts')).diff],
  ['healthcheck', async () => (await import('./healthcheck.ts')).healthcheck],
  ['version', async () => (await import('./version.ts')).version],
]);
