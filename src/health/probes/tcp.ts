import type { Socket } from 'node:net';
import type { Probe, ProbeTarget, Report } from '../probe.ts';
import { connect, type ConnectOptions } from './connect.ts';
import { failureOf } from './failure-text.ts';

const CONNECTED = { result: 'pass', text: 'connected' } as const;

/**
 * Passes when a connection is made. Closes it by RST: a FIN would leave a TIME_WAIT entry per probe for a minute, and
 * a peer that has stopped would never answer it.
 */
export class TcpProbe implements Probe {
  readonly keepsNothing = true;
  readonly #options: ConnectOptions;
  readonly #to: ProbeTarget;
  readonly #report: Report;
  #socket: Socket | undefined;

  constructor(options: ConnectOptions, to: ProbeTarget, report: Report) {
    this.#options = options;
    this.#to = to;
    this.#report = report;
  }

  start(): void {
    const socket = connect(this.#options, this.#to);
    this.#socket = socket;
    socket.on('error', (error) => {
      if (this.#socket !== socket) return;
      this.#socket = undefined;
      this.#report(failureOf(error));
    });
    socket.once('connect', () => {
      if (this.#socket !== socket) return;
      this.#socket = undefined;
      socket.resetAndDestroy();
      this.#report(CONNECTED);
    });
  }

  abort(): string {
    this.close();
    return 'no connection';
  }

  close(): void {
    const socket = this.#socket;
    this.#socket = undefined;
    socket?.destroy();
  }
}
