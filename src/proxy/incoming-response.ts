import { Output, type OutputKind } from '../http1/body-reader.ts';
import { Framing } from '../http1/framing.ts';
import type { ResponseHead } from '../http1/response-head.ts';
import { READ_BUFFER_BYTES, type Transport } from '../http1/transport.ts';
import type { ProxyContext } from './context.ts';
import { Closing, HEAD_ROOM_BYTES, writeResponseHead } from './headers.ts';

/** Responses up to this size wait for the end of the turn, to be written together. */
const BATCHED_BYTES = 16_384;

/** The response as the client gets it: rewritten, put together in the stage, and written in as few pieces as can be. */
export class IncomingResponse {
  /** The client speaks HTTP/1.0. */
  oldClient = false;
  /** The connection of the client ends with it. */
  closeAfter = false;
  /** The body took more than one read. */
  streamed = false;
  readonly #context: ProxyContext;
  /** End of a response head in the stage that has not been written yet; 0 = none. */
  #stagedEnd = 0;

  constructor(context: ProxyContext) {
    this.#context = context;
  }

  /** Passes on a 1xx. */
  informational(head: ResponseHead, buffer: Buffer, client: Transport): void {
    const { stage } = this.#context;
    stage.reserve((head.nameStart[head.count] as number) + HEAD_ROOM_BYTES);
    const end = writeResponseHead(head, buffer, stage.buffer, stage.start, Output.wire, Closing.none);
    stage.send(client, end);
  }

  /** Puts the head into the stage, and says how the body is to come. `close`: the connection must end in any case. */
  head(head: ResponseHead, buffer: Buffer, close: boolean): OutputKind {
    const { stage } = this.#context;
    const { framing } = head;
    const chunked = framing === Framing.chunked;
    this.closeAfter = close || (this.oldClient && (chunked || framing === Framing.untilClose));
    let output: OutputKind = Output.wire;
    if (this.oldClient && chunked) output = Output.content;
    else if (!this.oldClient && framing === Framing.untilClose) output = Output.chunked;
    stage.reserve((head.nameStart[head.count] as number) + HEAD_ROOM_BYTES + READ_BUFFER_BYTES);
    const connection = this.closeAfter ? Closing.close : this.oldClient ? Closing.keepAlive : Closing.none;
    this.#stagedEnd = writeResponseHead(head, buffer, stage.buffer, stage.start, output, connection);
    return output;
  }

  /** Part of the body; `lasting`: it may be written from where it is. False = the client takes no more for now. */
  body(buffer: Buffer, start: number, end: number, lasting: boolean, client: Transport): boolean {
    const { stage } = this.#context;
    // What came with the head leaves with it.
    if (this.#stagedEnd > 0 && this.#stagedEnd + end - start <= stage.buffer.length) {
      this.#stagedEnd += buffer.copy(stage.buffer, this.#stagedEnd, start, end);
      return true;
    }
    this.flush(client);
    return lasting ? client.write(buffer, start, end) : stage.sendCopy(client, buffer, start, end);
  }

  /** Writes what is in the stage. False = the client takes no more for now. */
  flush(client: Transport): boolean {
    const end = this.#stagedEnd;
    if (end === 0) return true;
    this.#stagedEnd = 0;
    return this.#context.stage.send(client, end);
  }

  /** The end: all of a short response that came in one read is still in the stage. */
  end(client: Transport): void {
    const { stage, batch } = this.#context;
    const end = this.#stagedEnd;
    if (end - stage.start > BATCHED_BYTES) {
      this.flush(client);
    } else if (end > 0) {
      this.#stagedEnd = 0;
      batch.add(client, stage.buffer, stage.start, end);
    }
  }

  /** Forgets what was not written. */
  drop(): void {
    this.#stagedEnd = 0;
  }
}
