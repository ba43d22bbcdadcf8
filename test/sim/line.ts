import type { Clock } from '../../src/core/clock.ts';
import type { TransportSink } from '../../src/http1/transport.ts';
import { MemoryTransport } from '../http1/memory-transport.ts';

/** The far end of a connection: a simulated client or instance. Nothing comes after `gone`. */
export interface Peer {
  received(text: string): void;
  /** The gateway has sent FIN. */
  ended(): void;
  /** The gateway has closed. */
  gone(): void;
}

const DEAF: TransportSink = {
  onBytes: () => undefined,
  onEnd: () => undefined,
  onDrain: () => undefined,
  onClose: () => undefined,
};

/** A connection between the gateway and a peer on which everything takes its time, in order, in both directions. */
export class Line extends MemoryTransport {
  peer!: Peer;
  readonly #clock: Clock;
  readonly #latencyMs: number;
  /** FIN follows what is pending. */
  #ends = false;

  constructor(sink: TransportSink, clock: Clock, latencyMs: number) {
    super(sink);
    this.#clock = clock;
    this.#latencyMs = latencyMs;
  }

  /** The peer sends bytes. */
  say(text: string): void {
    this.#later(() => {
      this.arrive(Buffer.from(text, 'latin1'));
    });
  }

  /** The peer sends FIN. */
  fin(): void {
    this.#later(() => {
      this.arriveEnd();
    });
  }

  /** The peer's end breaks. */
  rst(): void {
    this.#later(() => {
      this.breakOff();
    });
  }

  /** The gateway's end is no more, and nobody there hears of it. */
  cut(): void {
    if (this.destroyed) return;
    this.sink = DEAF;
    super.reset();
    this.#leaveAfter();
  }

  override write(buffer: Buffer, start: number, end: number): boolean {
    const taken = super.write(buffer, start, end);
    this.#hand();
    return taken;
  }

  override drain(): void {
    super.drain();
    this.#hand();
    if (this.#ends) this.#end();
  }

  override resume(): void {
    super.resume();
    if (this.waiting) {
      this.#clock.after(0, () => {
        this.pump();
      });
    }
  }

  override end(): void {
    const first = !this.ended && !this.destroyed;
    super.end();
    if (!first) return;
    if (this.writing) this.#ends = true;
    else this.#end();
  }

  override destroy(): void {
    this.#leave();
    super.destroy();
  }

  override reset(): void {
    this.#leave();
    super.reset();
  }

  #end(): void {
    this.#ends = false;
    this.#clock.after(this.#latencyMs, () => {
      this.peer.ended();
    });
  }

  #later(arrive: () => void): void {
    this.#clock.after(this.#latencyMs, () => {
      if (!this.destroyed) arrive();
    });
  }

  #hand(): void {
    const text = this.sent;
    if (text === '') return;
    this.sent = '';
    this.#clock.after(this.#latencyMs, () => {
      this.peer.received(text);
    });
  }

  #leave(): void {
    if (!this.destroyed) this.#leaveAfter();
  }

  #leaveAfter(): void {
    this.#clock.after(this.#latencyMs, () => {
      this.peer.gone();
    });
  }
}
