import type { Change } from '../changes.ts';
import type { EmbeddedRegistry } from '../registry.ts';
import { type StatusOf, instanceView, statusOf } from './views.ts';

/** One server-sent event (HTML, section 9.2). JSON holds no raw line feed. */
export function eventText(event: string, data: unknown, id?: number): string {
  return framed(event, JSON.stringify(data), id);
}

/** Changes as server-sent events. A change goes to all watchers one after the other: it is put into words once. */
export class ChangeTexts {
  readonly #registry: EmbeddedRegistry;
  readonly #statusOf: StatusOf | undefined;
  #last: Change | undefined;
  #lastJson: string | undefined;

  constructor(registry: EmbeddedRegistry, ask: StatusOf | undefined) {
    this.#registry = registry;
    this.#statusOf = ask;
  }

  /** Empty where there is nothing to tell. `undefined` leaves the id out. */
  of(change: Change, id: number | undefined): string {
    if (change !== this.#last) {
      this.#last = change;
      this.#lastJson = this.#json(change);
    }
    return this.#lastJson === undefined ? '' : framed(change.kind, this.#lastJson, id);
  }

  #json(change: Change): string | undefined {
    switch (change.kind) {
      case 'upsert': {
        // As it is now. Where it is gone already, the event that says so follows.
        const entry = this.#registry.find(change.instance);
        return entry && JSON.stringify(instanceView(entry, statusOf(entry, this.#statusOf)));
      }
      case 'remove': {
        const { service, id } = change.instance;
        return JSON.stringify({ service, id, reason: change.reason });
      }
      case 'absent':
        return JSON.stringify({ service: change.service });
    }
  }
}

function framed(event: string, json: string, id: number | undefined): string {
  return id === undefined ? `event: ${event}\ndata: ${json}\n\n` : `event: ${event}\nid: ${id}\ndata: ${json}\n\n`;
}
