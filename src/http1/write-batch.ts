import type { Stage } from './stage.ts';
import type { Transport } from './transport.ts';

/**
 * Short writes of one turn of the event loop, made together at its end: a peer that sleeps is woken once for all of
 * them, where each write on its own would wake it again. Costs a message the rest of its turn, which under load is what
 * the others of that turn cost, and otherwise nothing.
 *
 * What is added must stay untouched until the next turn. Bytes in the stage are kept there.
 */
export class WriteBatch {
  readonly #stage: Stage;
  readonly #transports: (Transport | undefined)[] = [];
  readonly #buffers: Buffer[] = [];
  readonly #starts: number[] = [];
  readonly #ends: number[] = [];
  #count = 0;
  readonly #flush = (): void => {
    this.flush();
  };

  constructor(stage: Stage) {
    this.#stage = stage;
  }

  add(transport: Transport, buffer: Buffer, start: number, end: number): void {
    if (this.#count === 0) setImmediate(this.#flush);
    const at = this.#count++;
    this.#transports[at] = transport;
    this.#buffers[at] = buffer;
    this.#starts[at] = start;
    this.#ends[at] = end;
    transport.batch = this;
    if (buffer === this.#stage.buffer) this.#stage.keep(end);
  }

  /** Writes what is there. Also called by a transport that has something to say after what is still here. */
  flush(): void {
    const count = this.#count;
    if (count === 0) return;
    this.#count = 0;
    let taken = true;
    for (let at = 0; at < count; at++) {
      const transport = this.#transports[at] as Transport;
      transport.batch = undefined;
      if (!transport.write(this.#buffers[at] as Buffer, this.#starts[at] as number, this.#ends[at] as number))
        taken = false;
      this.#transports[at] = undefined;
    }
    this.#stage.flushed(taken);
  }
}
