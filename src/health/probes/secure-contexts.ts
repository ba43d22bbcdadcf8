import tls, { type SecureContext } from 'node:tls';
import type { Clock } from '../../core/clock.ts';
import { codeOf } from './failure-text.ts';

/** Reads a PEM file; throws where it cannot. */
export type ReadFile = (file: string) => string;

interface Known {
  readonly context: SecureContext;
  readonly pem: string;
  readAgainMs: number;
}

/** Authorities are replaced while we run, and thousands of handshakes a second must not read a file each. */
const READ_EVERY_MS = 60_000;
const SYSTEM = '';

/**
 * What TLS checks trust: the system's authorities, or those of a file. A file is read again a minute later; one that can
 * then no longer be read, or holds no certificate, leaves what it held before in force, so that a slip while it is
 * replaced takes no instance out. Bounded by the files that the configuration names.
 */
export class SecureContexts {
  readonly #clock: Clock;
  readonly #read: ReadFile | undefined;
  readonly #byFile = new Map<string, Known>();

  constructor(clock: Clock, read: ReadFile | undefined) {
    this.#clock = clock;
    this.#read = read;
  }

  /** Throws, naming the file, where it has never been readable. */
  trusting(caFile = SYSTEM): SecureContext {
    const nowMs = this.#clock.now();
    const known = this.#byFile.get(caFile);
    if (known !== undefined && nowMs < known.readAgainMs) return known.context;
    try {
      const pem = caFile === SYSTEM ? '' : this.#pemOf(caFile);
      // Parsing the system's authorities takes milliseconds: only when something has changed.
      const context =
        known?.pem === pem ? known.context : tls.createSecureContext(caFile === SYSTEM ? {} : { ca: pem });
      this.#byFile.set(caFile, { context, pem, readAgainMs: nowMs + READ_EVERY_MS });
      return context;
    } catch (error) {
      if (known === undefined) throw error;
      known.readAgainMs = nowMs + READ_EVERY_MS;
      return known.context;
    }
  }

  #pemOf(file: string): string {
    if (this.#read === undefined) throw new Error(`the authorities in ${file} cannot be read here`);
    let pem: string;
    try {
      pem = this.#read(file);
    } catch (error) {
      throw new Error(`the authorities in ${file} cannot be read (${codeOf(error) || 'unknown error'})`, {
        cause: error,
      });
    }
    // Node takes a text without a certificate for an empty list, and then trusts nobody without saying why.
    if (!pem.includes('-----BEGIN ')) throw new Error(`${file} holds no certificate in PEM`);
    return pem;
  }
}
