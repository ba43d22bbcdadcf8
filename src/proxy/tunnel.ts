import { LazyTimer } from '../core/lazy-timer.ts';
import type { Transport } from '../http1/transport.ts';
import type { ProxyContext } from './context.ts';

export interface TunnelOptions {
  readonly client: Transport;
  readonly instance: Transport;
  readonly context: Pick<ProxyContext, 'clock' | 'wheel' | 'stage'>;
  /** Nothing moves for this long, and it is over. */
  readonly idleMs: number;
  /** Both directions have ended, or it was idle for too long. `close` it then. */
  readonly onOver: () => void;
}

/**
 * Two connections joined byte for byte after an upgrade. A side that does not take what it is sent holds back the
 * other; a side that has ended is passed on as FIN, and the other may go on.
 */
export class Tunnel extends LazyTimer {
  bytesIn = 0;
  bytesOut = 0;
  readonly #options: TunnelOptions;
  readonly #client: Transport;
  readonly #instance: Transport;
  #clientEnded = false;
  #instanceEnded = false;

  constructor(options: TunnelOptions) {
    super(options.context.wheel);
    this.#options = options;
    this.#client = options.client;
    this.#instance = options.instance;
    this.#touch();
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
    if (this.#instanceEnded) this.#options.onOver();
  }

  instanceEnded(): void {
    this.#instanceEnded = true;
    this.#client.end();
    if (this.#clientEnded) this.#options.onOver();
  }

  clientDrained(): void {
    if (!this.#instanceEnded) this.#instance.resume();
  }

  instanceDrained(): void {
    if (!this.#clientEnded) this.#client.resume();
  }

  close(): void {
    this.releaseTimer();
  }

  protected override onDeadline(): void {
    this.#options.onOver();
  }

  #pass(buffer: Buffer, start: number, end: number, from: Transport, to: Transport): void {
    if (!this.#options.context.stage.sendCopy(to, buffer, start, end)) from.pause();
    this.#touch();
  }

  #touch(): void {
    this.setDeadline(this.#options.context.clock.now() + this.#options.idleMs);
  }
}
