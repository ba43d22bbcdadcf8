import type { Check } from '../core/check.ts';
import type { ProbeResult } from './threshold.ts';

/** Where a probe goes, and for whom. */
export interface ProbeTarget {
  readonly service: string;
  readonly id: string;
  /** IP address (IPv6 without brackets) or host name. */
  readonly host: string;
  /** The port of the check where it names one, else the instance's. */
  readonly port: number;
}

export interface ProbeAnswer {
  /**
   * `unable`: the gateway could not ask, for lack of something of its own (descriptors, ports, memory). Says nothing
   * about the instance.
   */
  readonly result: ProbeResult | 'unable';
  /** For people; never holds bytes that the instance sent. */
  readonly text: string;
  /** With `unable`: the whole gateway lacks it, and not just the way to this address. */
  readonly everywhere?: boolean;
}

export type Report = (answer: ProbeAnswer) => void;

/**
 * One check of one instance; runs again and again, one run at a time, and may keep a connection in between.
 *
 * Obligations: after `start` exactly one report, possibly before `start` returns, unless `abort` or `close` comes
 * first: then none. Deadlines are the caller's. Nothing throws.
 */
export interface Probe {
  /** It keeps nothing between runs: a new one for the next run does as well, and costs no memory until then. */
  readonly keepsNothing?: boolean;
  start(): void;
  /** Ends the run now and gives its socket or process up. Returns what the run was waiting for, as in "no connection". */
  abort(): string;
  /** Ends a run and whatever is kept between runs. */
  close(): void;
}

/** Makes the probe of one check. Never asked for `ttl` checks: those only listen. */
export type CreateProbe = (target: ProbeTarget, check: Check, report: Report) => Probe;
