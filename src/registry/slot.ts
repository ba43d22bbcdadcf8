import type { Instance } from '../core/instance.ts';
import type { SmallMap } from '../core/small-map.ts';
import type { Claim, ClaimSource } from './claims.ts';

/** What one registry says of one service. */
export interface ServiceTable {
  readonly name: string;
  readonly source: ClaimSource;
  /** By id. */
  readonly slots: SmallMap<Slot>;
  /** The registry knows the service, be it without instances. */
  known: boolean;
  reported: number;
  kept: number;
}

const REPORTED = 1;
const KEPT = 2;
const HELD = 4;
const TOLD = 8;
const WAITING = 16;

/**
 * One id of one service: what the registry says, what is held against it, and what has been shown of it, which is its
 * claim on an address. Kept small, with its states as bits of one number: there is one for every instance of every
 * registry. It has no private methods, because of which V8 would mark each object.
 */
export class Slot implements Claim {
  readonly service: ServiceTable;
  /** What is shown; undefined = nothing. */
  shown: Instance | undefined = undefined;
  sinceS = 0;
  next: Claim | undefined = undefined;
  published: Instance | undefined = undefined;
  /** As the registry last said. */
  #said: Instance;
  #states = 0;

  constructor(service: ServiceTable, said: Instance) {
    this.service = service;
    this.#said = said;
  }

  get id(): string {
    return this.#said.id;
  }

  /** As the registry says; undefined = it does not report it. */
  get reported(): Instance | undefined {
    return this.#states & REPORTED ? this.#said : undefined;
  }

  set reported(instance: Instance | undefined) {
    if (instance) this.#said = instance;
    this.#states = marked(this.#states, REPORTED, instance !== undefined);
  }

  /** Not reported any more, and still believed. */
  get kept(): Instance | undefined {
    return this.#states & KEPT ? this.#said : undefined;
  }

  /** To keep what the registry said last, or to stop. */
  keep(keep: boolean): void {
    this.#states = marked(this.#states, KEPT, keep);
  }

  /** It has changed since it was shown. */
  get waiting(): boolean {
    return (this.#states & WAITING) !== 0;
  }

  set waiting(waiting: boolean) {
    this.#states = marked(this.#states, WAITING, waiting);
  }

  /** What is shown has reached whom it is shown to. */
  get told(): boolean {
    return (this.#states & TOLD) !== 0;
  }

  set told(told: boolean) {
    this.#states = marked(this.#states, TOLD, told);
  }

  /** Obligation: where something is shown already, it is of the same address. */
  show(instance: Instance, held: boolean): void {
    this.shown = instance;
    this.#states = marked(this.#states, HELD, held);
    this.told = false;
  }

  get source(): ClaimSource {
    return this.service.source;
  }

  get instance(): Instance {
    return this.shown ?? this.#said;
  }

  /** As it is shown. */
  get held(): boolean {
    return (this.#states & HELD) !== 0;
  }
}

function marked(states: number, state: number, on: boolean): number {
  return on ? states | state : states & ~state;
}
