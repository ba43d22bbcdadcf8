import type { RequestHead } from '../http1/request-head.ts';
import type { Transport } from '../http1/transport.ts';
import type { ProxyContext } from './context.ts';
import { type Forwarding, forwarding, HEAD_ROOM_BYTES, type WrittenRequest, writeRequestHead } from './headers.ts';

/** Heads up to this size, nearly all, use the same memory again and again. */
const COMMON_BYTES = 2048;
/** Places for heads in one piece of memory. */
const SLAB_HEADS = 128;
const MAX_SPARE = 4096;

interface Place {
  readonly buffer: Buffer;
  readonly start: number;
}

const spare: Place[] = [];
const written: WrittenRequest = { end: 0, idStart: 0, idEnd: 0 };

function takePlace(): Place {
  const place = spare.pop();
  if (place) return place;
  const buffer = Buffer.allocUnsafeSlow(SLAB_HEADS * COMMON_BYTES);
  for (let at = SLAB_HEADS - 1; at > 0; at--) spare.push({ buffer, start: at * COMMON_BYTES });
  return { buffer, start: 0 };
}

/** The request head as every attempt sends it, in `buffer[start, end)`. Written once per request, released with it. */
export class OutgoingHead {
  buffer: Buffer | undefined;
  start = 0;
  end = 0;
  #place: Place | undefined;
  #idStart = 0;
  #idEnd = 0;
  #forwarding: Forwarding | undefined;
  /** By whose word `#forwarding` was made: a reload replaces it. */
  #isTrustedProxy: ProxyContext['isTrustedProxy'] | undefined;

  write(head: RequestHead, source: Buffer, client: Transport, context: ProxyContext, websocket: boolean): void {
    const from = this.#forwardingOf(client, context);
    const original = (head.nameStart[head.count] as number) - head.methodStart;
    const needed = original + HEAD_ROOM_BYTES + (head.authorityEnd - head.authorityStart);
    if (needed <= COMMON_BYTES) {
      const place = (this.#place = takePlace());
      this.buffer = place.buffer;
      this.start = place.start;
    } else {
      this.buffer = Buffer.allocUnsafeSlow(needed);
      this.start = 0;
    }
    writeRequestHead(head, source, this.buffer, this.start, from, context.ids, websocket, written);
    this.end = written.end;
    this.#idStart = written.idStart;
    this.#idEnd = written.idEnd;
  }

  /** Made once per connection, and again where a reload has changed what decides it. */
  #forwardingOf(client: Transport, { isTrustedProxy, allowUnderscores }: ProxyContext): Forwarding {
    const known = this.#forwarding;
    if (known && this.#isTrustedProxy === isTrustedProxy && known.allowUnderscores === allowUnderscores) return known;
    this.#isTrustedProxy = isTrustedProxy;
    return (this.#forwarding = forwarding({
      peer: client.remoteAddress,
      port: client.localPort,
      encrypted: client.encrypted,
      trusted: isTrustedProxy(client.remoteAddress),
      allowUnderscores,
    }));
  }

  /** undefined where the request had no readable head. */
  get requestId(): string | undefined {
    return this.buffer?.toString('latin1', this.#idStart, this.#idEnd);
  }

  /** `pending`: a write from it may still be under way, so that the memory must not be used again. */
  release(pending: boolean): void {
    const place = this.#place;
    this.#place = undefined;
    this.buffer = undefined;
    if (place && !pending && spare.length < MAX_SPARE) spare.push(place);
  }
}
