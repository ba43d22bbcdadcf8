import type { Stage } from '../http1/stage.ts';
import type { Transport } from '../http1/transport.ts';

/**
 * Two connections joined byte for byte after an upgrade. A side that does not take what it is sent holds back the
 * other; a side that has ended is passed on as FIN, and the other may go on.
 */
export class Tunnel {
  bytesIn = 0;
  bytesOut = 0;
  readonly #client: Transport;
  readonly #instance: Transport;
  readonly #stage: Stage;
  #clientEnded = false;
  #instanceEnded = false;

  constructor(client: Transport, instance: Transport, stage: Stage) {
    this.#client = client;
    this.#instance = instance;
    this.#stage = stage;
  }

  /** Both directions have ended. */
  get over(): boolean {
    return this.#clientEnded && this.#instanceEnded;
  }

  fromClient(buffer: Buffer, start: number, end: number): void {
    this.bytesIn += end - start;
    this.#pass(buffer, start, end, this.#client, this.#instance);
  }

  fromInstance(buffer: Buffer, start: number, end: number): void {
    this.bytesOut += end - start;
    this.#pass(buffer, start, end, this.#instance, this.#client);
  }

  clientEnded(): void {
    this.#clientEnded = true;
    this.#instance.end();
  }

  instanceEnded(): void {
    this.#instanceEnded = true;
    this.#client.end();
  }

  clientDrained(): void {
    if (!this.#instanceEnded) this.#instance.resume();
  }

  instanceDrained(): void {
    if (!this.#clientEnded) this.#client.resume();
  }

  #pass(buffer: Buffer, start: number, end: number, from: Transport, to: Transport): void {
    if (!writeStaged(this.#stage, to, buffer, start, end)) from.pause();
  }
}

/** Writes bytes that are only good for now: they are copied first, and stay put while they are pending. */
export function writeStaged(stage: Stage, to: Transport, buffer: Buffer, start: number, end: number): boolean {
  stage.reserve(end - start);
  const at = stage.start;
  const stop = at + buffer.copy(stage.buffer, at, start, end);
  const done = to.write(stage.buffer, at, stop);
  if (!done) stage.pin(stop);
  return done;
}
