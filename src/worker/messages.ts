import type { GatewayConfig } from '../config/config.ts';
import type { Outcome } from '../core/outcome.ts';
import type { SharedFigures } from '../upstream/figures.ts';
import type { Failing } from './failing.ts';
import type { Update } from './update.ts';

/** What a data-plane thread is born with. */
export interface ThreadSetup {
  /** From 0. */
  readonly number: number;
  readonly threads: number;
  readonly reusePort: boolean;
  readonly figures: SharedFigures;
  /** Of `OwnFigures`. */
  readonly own: SharedArrayBuffer;
  /** Of `TrafficMeters`, for as many services. */
  readonly meters: { readonly services: number; readonly buffer: SharedArrayBuffer };
  /** Of `ThreadStatus`. */
  readonly status: SharedArrayBuffer;
  /** Of `SocketBudget`, whose row 0 is the control thread's. */
  readonly sockets: { readonly openFiles: number | undefined; readonly cells: Int32Array };
  /** What its heap and its buffers may come to: beyond it the thread is ended, and not the process. MiB. */
  readonly memoryMb: number;
  readonly settings: ThreadSettings;
}

/** What a reload may change. */
export interface ThreadSettings {
  readonly gateway: GatewayConfig;
  readonly hosts: readonly (readonly [pattern: string, service: string])[];
  /** Where this gateway itself listens: no instance may lie there. */
  readonly ownListeners: readonly { readonly host: string; readonly port: number }[];
  readonly accessLog: boolean;
}

/** From the control thread. Those with a `request` are answered. */
export type ToThread =
  | { readonly type: 'update'; readonly update: Update }
  | { readonly type: 'settings'; readonly settings: ThreadSettings }
  /** The attempts that wait on this instance move elsewhere where that does no harm. */
  | { readonly type: 'moveOff'; readonly slot: number }
  | {
      readonly type: 'listen';
      readonly request: number;
      /** Names the listener from now on. */
      readonly listener: number;
      readonly host: string;
      readonly port: number;
      readonly fd: number | undefined;
    }
  | { readonly type: 'stopListening'; readonly request: number; readonly listener: number }
  /** See `Proxy.ease` and `Proxy.drain`. */
  | { readonly type: 'ease' | 'drain' | 'close'; readonly request: number };

/** Of a test: what a defect would do. */
export interface FailMessage {
  readonly type: 'fail';
  readonly how: Failing;
}

/** The outcome of a trial that has just been taken means nothing. */
export type BreakerReport = readonly [
  what: 'failed' | 'trialTaken' | 'trialEnded',
  slot: number,
  circuit: number,
  outcome: Outcome,
];

/** From a data-plane thread. */
export type FromThread =
  | { readonly type: 'applied'; readonly through: number }
  /** Of one turn, in order. */
  | { readonly type: 'breakers'; readonly reports: readonly BreakerReport[] }
  /** An instance hangs, or (`unreachable`) nobody listens there. */
  | { readonly type: 'suspect'; readonly slot: number; readonly cause: string; readonly unreachable: boolean }
  /** Malformed requests by reason, since the last time. */
  | { readonly type: 'refused'; readonly counts: readonly (readonly [reason: string, count: number])[] }
  | { readonly type: 'acceptFailed'; readonly code: string }
  /** Whole lines of the access log. */
  | { readonly type: 'lines'; readonly lines: Uint8Array }
  | { readonly type: 'done'; readonly request: number; readonly result: Listening | undefined }
  | { readonly type: 'failed'; readonly request: number; readonly message: string };

export interface Listening {
  readonly host: string;
  readonly port: number;
  readonly fd: number | undefined;
}
