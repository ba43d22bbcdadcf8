import { setMaxListeners } from 'node:events';
import { abortReason } from '../http-exchange.ts';
import { AllEndpointsFailed, RegistryUnreachable } from '../network-fault.ts';
import type { TlsMaterial } from '../tls-material.ts';
import { EtcdSession, type SessionOptions } from './session.ts';

/** The members of the cluster that were configured, and which of them to turn to. */
export class Members {
  readonly #endpoints: readonly string[];
  readonly #tls: (() => Promise<TlsMaterial>) | undefined;
  readonly #options: SessionOptions;
  #preferred = 0;

  constructor(endpoints: readonly string[], tls: (() => Promise<TlsMaterial>) | undefined, options: SessionOptions) {
    this.#endpoints = endpoints;
    this.#tls = tls;
    this.#options = options;
  }

  /**
   * The first member that can do the work does it, on a session that the work closes, or hands on, if it succeeds. A
   * refusal counts for all members: they share users and keys.
   */
  async use<T>(signal: AbortSignal, work: (session: EtcdSession) => Promise<T>): Promise<T> {
    setMaxListeners(0, signal);
    const tls = await this.#tls?.();
    const failures: RegistryUnreachable[] = [];
    const start = this.#preferred;
    for (let turn = 0; turn < this.#endpoints.length; turn += 1) {
      const endpoint = this.#endpoints[(start + turn) % this.#endpoints.length] ?? '';
      let session: EtcdSession | undefined;
      try {
        session = await EtcdSession.open(endpoint, tls, this.#options, signal);
        const done = await work(session);
        this.#preferred = start + turn;
        return done;
      } catch (error) {
        session?.close();
        if (signal.aborted) throw abortReason(signal);
        if (!(error instanceof RegistryUnreachable)) throw error;
        failures.push(error);
      }
    }
    const [first] = failures;
    throw first && failures.length === 1 ? first : new AllEndpointsFailed(this.#options, failures);
  }

  /** Whoever is turned to first has let us down: another one is first now. */
  demote(): void {
    this.#preferred += 1;
  }
}
