import { ManualClock } from '../../src/core/clock.ts';
import { TimingWheel } from '../../src/core/wheel.ts';
import type { HeadLimits } from '../../src/http1/head.ts';
import type { Refusal } from '../../src/http1/refusal.ts';
import type { RequestHead } from '../../src/http1/request-head.ts';
import { type RequestHandler, ServerConnection } from '../../src/http1/server-connection.ts';
import { MemoryTransport } from './memory-transport.ts';

export const LIMITS: HeadLimits = { headBytes: 32_768, headFields: 100, targetBytes: 8192 };

export interface SeenRequest {
  readonly method: string;
  /** As it stood in the request line. */
  readonly target: string;
  readonly host: string;
  readonly authority: string;
  readonly minorVersion: number;
  readonly fields: readonly (readonly [name: string, value: string])[];
  readonly framing: number;
  readonly keepAlive: boolean;
  /** The body in the framing in which it is passed on. */
  body: string;
  complete: boolean;
}

/** What a server connection made of some bytes. */
export interface ServerView {
  readonly requests: readonly SeenRequest[];
  /** Reasons of refusal; `too-slow` is never among them here, since time stands still. */
  readonly refusals: readonly string[];
  readonly ended: boolean;
}

export function fieldsOf(head: RequestHead, buffer: Buffer): [string, string][] {
  return Array.from({ length: head.count }, (_, i): [string, string] => [
    buffer.toString('latin1', head.nameStart[i], head.nameEnd[i]),
    buffer.toString('latin1', head.valueStart[i], head.valueEnd[i]),
  ]);
}

export function seen(head: RequestHead, buffer: Buffer): SeenRequest {
  const text = (start: number, end: number): string => buffer.toString('latin1', start, end);
  return {
    method: text(head.methodStart, head.methodEnd),
    target: text(head.methodEnd + 1, head.targetEnd),
    host: text(head.hostStart, head.hostEnd),
    authority: text(head.authorityStart, head.authorityEnd),
    minorVersion: head.minorVersion,
    fields: fieldsOf(head, buffer),
    framing: head.framing,
    keepAlive: head.keepAlive,
    body: '',
    complete: false,
  };
}

class Recorder implements RequestHandler {
  connection!: ServerConnection;
  readonly requests: SeenRequest[] = [];
  readonly refusals: string[] = [];

  onRequest(head: RequestHead, buffer: Buffer): void {
    this.requests.push(seen(head, buffer));
  }

  onRequestBody(buffer: Buffer, start: number, end: number): void {
    this.requests.at(-1)!.body += buffer.toString('latin1', start, end);
  }

  onRequestEnd(): void {
    const request = this.requests.at(-1)!;
    request.complete = true;
    this.connection.finish(request.keepAlive, 0);
  }

  onRefused(refusal: Refusal | undefined): void {
    this.refusals.push(refusal?.reason ?? 'too-slow');
    this.connection.finish(false, 0);
  }

  onClientGone(): void {
    // Nothing more comes: what was seen stands.
  }
  onClientStalled(): void {
    // Time stands still here.
  }
  onClientDrain(): void {
    // Nothing is written here.
  }
  onClientTunnelBytes(): void {
    throw new Error('there is no tunnel here');
  }
  onClientTunnelEnd(): void {
    throw new Error('there is no tunnel here');
  }
  onConnectionClosed(): void {
    // The last call; nothing hangs on it.
  }
}

const clock = new ManualClock();
const wheel = new TimingWheel({ clock, tickMs: 10, slots: 32 });

/** Serves `pieces`, one read each, and answers every request as soon as it is complete. */
export function serve(pieces: Iterable<Buffer>, limits: HeadLimits = LIMITS): ServerView {
  const handler = new Recorder();
  const connection = new ServerConnection(
    {
      clock,
      wheel,
      limits,
      requestHeadMs: 1000,
      keepAliveMs: 1000,
      bodyIdleMs: 1000,
      bodyMinBytesPerSecond: 1,
      bodyGraceMs: 1000,
    },
    handler,
  );
  handler.connection = connection;
  const transport = new MemoryTransport(connection);
  connection.attach(transport);
  for (const piece of pieces) transport.arrive(piece);
  const { ended } = transport;
  connection.releaseTimer();
  transport.destroy();
  return { requests: handler.requests, refusals: handler.refusals, ended };
}

/** The bytes in two pieces, for every place where they can be cut. */
export function* everySplit(bytes: Buffer): Generator<Buffer[]> {
  for (let at = 1; at < bytes.length; at++) yield [bytes.subarray(0, at), bytes.subarray(at)];
}

export function inPieces(bytes: Buffer, size: number): Buffer[] {
  return Array.from({ length: Math.ceil(bytes.length / size) }, (_, at) => bytes.subarray(at * size, (at + 1) * size));
}

export const byteByByte = (bytes: Buffer): Buffer[] => inPieces(bytes, 1);

export const latin1 = (text: string): Buffer => Buffer.from(text, 'latin1');
