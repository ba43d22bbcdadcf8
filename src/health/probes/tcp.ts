import type { Transport } from '../../http1/transport.ts';
import type { Probe, ProbeAnswer, ProbeTarget, Report } from '../probe.ts';
import { type ConnectOptions, DEAF, open, type Opening } from './connect.ts';

const CONNECTED = { result: 'pass', text: 'connected' } as const;

/**
 * Passes when a connection is made. Closes it by RST: a FIN would leave a TIME_WAIT entry per probe for a minute, and
 * a peer that has stopped would never answer it.
 */
export class TcpProbe implements Probe, Opening {
  readonly keepsNothing = true;
  readonly #options: ConnectOptions;
  readonly #to: ProbeTarget;
  readonly #report: Report;
  #giveUp: (() => void) | undefined;

  constructor(options: ConnectOptions, to: ProbeTarget, report: Report) {
    this.#options = options;
    this.#to = to;
    this.#report = report;
  }

  start(): void {
    this.#giveUp = open(this.#options, this.#to, undefined, DEAF, this);
  }

  abort(): string {
    this.close();
    return 'no connection';
  }

  close(): void {
    this.#giveUp?.();
    this.#giveUp = undefined;
  }

  onConnected(): void {
    // Without TLS there is nothing between the connection and its being open.
  }

  onOpen(transport: Transport): void {
    this.#giveUp = undefined;
    transport.reset();
    this.#report(CONNECTED);
  }

  onFailed(failure: ProbeAnswer): void {
    this.#giveUp = undefined;
    this.#report(failure);
  }
}
