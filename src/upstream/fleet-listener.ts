import type { Instance } from '../core/instance.ts';
import type { Gate } from './availability.ts';
import type { Member, ServiceDetail } from './directory.ts';
import type { View } from './view.ts';

/** Each is called in the turn of the change, `viewChanged` and `panic` with the new view. None may throw. */
export interface FleetListener {
  added?(member: Member): void;
  /** It is configured, or an instance of it registered, for the first time. */
  serviceAdded?(service: ServiceDetail): void;
  policyChanged?(service: ServiceDetail): void;
  /** Its name is unknown from now on; members of it may still be leaving. */
  serviceDropped?(service: ServiceDetail): void;
  /** Anything but the address has changed. */
  updated?(member: Member, previous: Instance): void;
  /** It is out of the table; requests may still be in flight. */
  removed?(member: Member): void;
  /** The last request of a removed member has ended: its slot, and all that is kept by it, is free. */
  freed?(member: Member): void;
  viewChanged?(service: ServiceDetail, previous: View): void;
  panic?(service: ServiceDetail, on: boolean): void;
  /** Its fallback instances come into use, or are needed no longer. */
  fallback?(service: ServiceDetail, on: boolean): void;
  /** `to` are the words of `explain`. */
  transition?(member: Member, gate: Gate, from: string, to: string, cause: string): void;
  /** There is no slot for it, or no room for its service. */
  refused?(instance: Instance): void;
}

export class FleetListeners {
  readonly #listeners = new Set<FleetListener>();

  /** Returns a function that ends it. */
  add(listener: FleetListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  tell(call: (listener: FleetListener) => void): void {
    for (const listener of this.#listeners) call(listener);
  }
}
