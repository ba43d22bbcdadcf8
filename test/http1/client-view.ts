import { Output, type OutputKind } from '../../src/http1/body-reader.ts';
import { ClientConnection, type ResponseHandler } from '../../src/http1/client-connection.ts';
import type { ResponseHead } from '../../src/http1/response-head.ts';
import { MemoryTransport } from './memory-transport.ts';
import { LIMITS } from './server-view.ts';

/** What a client connection made of some bytes that answer one request. */
export interface ClientView {
  status: number;
  fields: [name: string, value: string][];
  minorVersion: number;
  informational: number[];
  /** Content, without its framing. */
  content: string;
  complete: boolean;
  /** `reset` or `protocol`, and why. */
  failure: string | undefined;
  reusable: boolean;
}

class Recorder implements ResponseHandler {
  readonly view: ClientView = {
    status: 0,
    fields: [],
    minorVersion: 1,
    informational: [],
    content: '',
    complete: false,
    failure: undefined,
    reusable: false,
  };
  onInformational(head: ResponseHead): void {
    this.view.informational.push(head.status);
  }
  onResponse(head: ResponseHead, buffer: Buffer): OutputKind {
    this.view.status = head.status;
    this.view.minorVersion = head.minorVersion;
    for (let i = 0; i < head.count; i++)
      this.view.fields.push([
        buffer.toString('latin1', head.nameStart[i], head.nameEnd[i]),
        buffer.toString('latin1', head.valueStart[i], head.valueEnd[i]),
      ]);
    return Output.content;
  }
  onResponseBody(buffer: Buffer, start: number, end: number): void {
    this.view.content += buffer.toString('latin1', start, end);
  }
  onResponsePause(): void {
    // Only says that a flush would be good now.
  }
  onResponseEnd(): boolean {
    this.view.complete = true;
    return true;
  }
  onResponseFailed(kind: string, reason: string): void {
    this.view.failure = `${kind}: ${reason}`;
  }
  onRequestDrain(): void {
    // Nothing is written here.
  }
  onServerTunnelBytes(buffer: Buffer, start: number, end: number): void {
    this.view.content += buffer.toString('latin1', start, end);
  }
  onServerTunnelEnd(): void {
    // What was seen stands.
  }
}

/** Reads `pieces`, one read each, as the answer to one request; `closed`: FIN comes behind them. */
export function receive(pieces: Iterable<Buffer>, method: string, closed: boolean): ClientView {
  const handler = new Recorder();
  const client = new ClientConnection({ limits: LIMITS, onIdleClosed: () => undefined });
  const transport = new MemoryTransport(client);
  client.transport = transport;
  client.begin(handler, method === 'HEAD');
  for (const piece of pieces) transport.arrive(piece);
  if (closed && !transport.destroyed) transport.arriveEnd();
  handler.view.reusable = client.reusable;
  client.abandon();
  return handler.view;
}
