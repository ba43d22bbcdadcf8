import type { Instance } from '../../core/instance.ts';
import type { RegistryEvent } from '../backend.ts';
import { sameInstance } from '../same.ts';
import type { Truth } from './mailbox.ts';

/**
 * Whole answers as what has changed since the one before. Consul tells every change by a whole list; but an instance
 * that is missing from the next list of the same watch was deregistered (an empty list has been confirmed by a
 * consistent read), which is another thing than a list that came up short after a reconnect or of another history.
 */
export class Changes {
  /** No service in it is absent: names that come and go leave nothing behind. */
  readonly #known = new Map<string, ReadonlyMap<string, Instance>>();

  *of(event: Truth): Iterable<RegistryEvent> {
    const { service } = event;
    const before = this.#known.get(service);
    const now = new Map((event.kind === 'reset' ? event.instances : []).map((instance) => [instance.id, instance]));
    if (event.kind === 'reset') this.#known.set(service, now);
    else this.#known.delete(service);
    if (before === undefined || event.restarted === true) {
      yield event.kind === 'absent'
        ? { kind: 'absent', service }
        : { kind: 'reset', service, instances: event.instances };
      return;
    }
    for (const id of before.keys()) if (!now.has(id)) yield { kind: 'remove', service, id };
    for (const [id, instance] of now) {
      const known = before.get(id);
      if (!known || !sameInstance(known, instance)) yield { kind: 'upsert', instance };
    }
    if (event.kind === 'absent') yield { kind: 'absent', service };
  }
}
