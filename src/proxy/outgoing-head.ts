import type { RequestHead } from '../http1/request-head.ts';
import type { Transport } from '../http1/transport.ts';
import type { ProxyContext } from './context.ts';
import { type Forwarding, forwarding, HEAD_ROOM_BYTES, type WrittenRequest, writeRequestHead } from './headers.ts';

/** Heads up to this size, nearly all, use memory again and again. */
const COMMON_BYTES = 2048;
const MAX_SPARE = 1024;

const spare: Buffer[] = [];
const written: WrittenRequest = { end: 0, idStart: 0, idEnd: 0 };

/** The request head as every attempt sends it. Written once per request, released with it. */
export class OutgoingHead {
  buffer: Buffer | undefined;
  end = 0;
  #idStart = 0;
  #idEnd = 0;
  #forwarding: Forwarding | undefined;

  write(head: RequestHead, source: Buffer, client: Transport, context: ProxyContext, websocket: boolean): void {
    this.#forwarding ??= forwarding(
      client.remoteAddress,
      client.localPort,
      client.encrypted,
      context.isTrustedProxy(client.remoteAddress),
    );
    const original = (head.nameStart[head.count] as number) - head.methodStart;
    const needed = original + HEAD_ROOM_BYTES + (head.authorityEnd - head.authorityStart);
    this.buffer =
      needed <= COMMON_BYTES ? (spare.pop() ?? Buffer.allocUnsafeSlow(COMMON_BYTES)) : Buffer.allocUnsafeSlow(needed);
    writeRequestHead(head, source, this.buffer, this.#forwarding, context.ids, websocket, written);
    this.end = written.end;
    this.#idStart = written.idStart;
    this.#idEnd = written.idEnd;
  }

  /** undefined where the request had no readable head. */
  get requestId(): string | undefined {
    return this.buffer?.toString('latin1', this.#idStart, this.#idEnd);
  }

  /** `pending`: a write from it may still be under way, so that the memory must not be used again. */
  release(pending: boolean): void {
    const { buffer } = this;
    this.buffer = undefined;
    if (buffer?.length === COMMON_BYTES && !pending && spare.length < MAX_SPARE) spare.push(buffer);
  }
}
