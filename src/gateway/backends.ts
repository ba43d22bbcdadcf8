import type { EmbeddedRegistryConfig, RegistryConfig } from '../config/config.ts';
import type { Clock } from '../core/clock.ts';
import type { Random } from '../core/random.ts';
import type { OnSkip, RegistryBackend } from '../registry/backend.ts';

export interface BackendDeps {
  readonly clock: Clock;
  readonly random: Random;
  readonly onSkip: OnSkip;
}

/** The one place that knows every kind of registry outside the process. */
export function createBackend(
  config: Exclude<RegistryConfig, EmbeddedRegistryConfig>,
  deps: BackendDeps,
): RegistryBackend {
  throw new Error(`${config.type} ${deps.clock.now()}`);
}
