import type { Instance } from '../core/instance.ts';

/** Which services of a registry are wanted, in the registry's own names. */
export type Interest = { readonly kind: 'all' } | { readonly kind: 'services'; readonly names: ReadonlySet<string> };

export type RegistryEvent =
  /** The whole truth about one service. An empty list is an authoritative empty. */
  | { readonly kind: 'reset'; readonly service: string; readonly instances: readonly Instance[] }
  | { readonly kind: 'upsert'; readonly instance: Instance }
  /**
   * `deliberate`: somebody took the registration back, instance by instance; it did not run out. Believed at once, however
   * many there are: a registry that cannot tell the two apart leaves it out.
   */
  | { readonly kind: 'remove'; readonly service: string; readonly id: string; readonly deliberate?: boolean }
  /** The registry knows no such service (any more). */
  | { readonly kind: 'absent'; readonly service: string }
  /**
   * Every service of the interest has had its `reset` or `absent` since the watch began; services not named since
   * then are absent. The first one of a watch closes its initial read. Later ones mean "heard from the registry just
   * now, and nothing else is new": yield one at every sign of life (a poll that found no change, a heartbeat, a progress
   * notification), because the age that operators see counts from the last event.
   */
  | { readonly kind: 'synced'; readonly revision: string | undefined };

/** What a registry tells about itself, for status and metrics. */
export interface RegistryInfo {
  /** Where the watch is connected just now. */
  readonly endpoint: string | undefined;
  readonly leader: string | undefined;
  readonly revision: string | undefined;
}

/**
 * A source of instances.
 *
 * Obligations of an implementation:
 * - The first event about a service in each `watch` is `reset` or `absent`; then `synced` follows once. After it every
 *   service that was not named is known to be absent, so that an `upsert` may open one.
 * - Losing the registry is an error thrown from the iteration, never an event: errors do not change the table.
 *   The message says what failed, where, and which setting mends it. `follow` reconnects; a backend does not retry by
 *   itself beyond failing over between endpoints it was given.
 * - Silence has a deadline: a half-open connection must end in a throw.
 * - When `signal` aborts, the iteration ends (return or throw) and every socket, timer and listener is released. The
 *   same goes for a consumer that calls `return()` on the iterator.
 * - Several watches and lists may run at once; none disturbs another.
 * - Instances from the registry are hostile until parsed: a bad one is skipped and reported through `onSkip`, and
 *   never ends the watch.
 */
export interface RegistryBackend {
  readonly type: string;
  /** What it says cannot age, as with what is in this process: its age is shown as 0 while it is watched. */
  readonly alwaysFresh?: boolean;
  /**
   * The longest time for which a live watch of this backend, past its first `synced`, can yield nothing at all. When it
   * is exceeded, `follow` gives the watch up. A second line behind the backend's own deadline: choose it longer.
   */
  readonly maxSilenceMs?: number;
  watch(interest: Interest, signal: AbortSignal): AsyncIterable<RegistryEvent>;
  /** A fresh authoritative read of everything of interest, independent of any watch. Throws as `watch` does. */
  list(interest: Interest, signal: AbortSignal): Promise<ReadonlyMap<string, readonly Instance[]>>;
  info(): RegistryInfo;
}

/** Told of every registration that had to be left out, and why. */
export type OnSkip = (what: { readonly service: string; readonly id: string; readonly why: string }) => void;

/** A registry answered, and what it said means that we are not let in or asked wrongly: retrying alone will not mend it. */
export class RegistryRefusal extends Error {
  override readonly name = 'RegistryRefusal';
}
