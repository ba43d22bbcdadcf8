import { TooLarge } from '../http-stream.ts';
import { MalformedMessage } from './protobuf.ts';

const PREFIX_BYTES = 5;

/** Length-Prefixed-Message of gRPC: a flag (0 = not compressed), the length in 4 bytes, the message. */
export function frame(message: Buffer): Buffer {
  const framed = Buffer.allocUnsafe(PREFIX_BYTES + message.length);
  framed[0] = 0;
  framed.writeUInt32BE(message.length, 1);
  message.copy(framed, PREFIX_BYTES);
  return framed;
}

/** Cuts a byte stream into messages. Throws where it ends inside one, or one is compressed or too large. */
export async function* messages(
  chunks: AsyncIterable<Buffer>,
  maxMessageBytes: number,
): AsyncGenerator<Buffer, void, undefined> {
  let parts: Buffer[] = [];
  let size = 0;
  let wanted = PREFIX_BYTES;
  for await (const chunk of chunks) {
    parts.push(chunk);
    size += chunk.length;
    // Joining on every chunk would copy a large message once per chunk.
    if (size < wanted) continue;
    let joined = parts.length === 1 ? chunk : Buffer.concat(parts, size);
    while (joined.length >= PREFIX_BYTES) {
      const length = messageLength(joined, maxMessageBytes);
      wanted = PREFIX_BYTES + length;
      if (joined.length < wanted) break;
      const message = joined.subarray(PREFIX_BYTES, wanted);
      joined = joined.subarray(wanted);
      wanted = PREFIX_BYTES;
      yield message;
    }
    parts = joined.length > 0 ? [joined] : [];
    size = joined.length;
  }
  if (size > 0) throw new MalformedMessage('a message ends too early');
}

function messageLength(framed: Buffer, maxMessageBytes: number): number {
  if (framed[0] !== 0) throw new MalformedMessage('a message is compressed, which nobody asked for');
  const length = framed.readUInt32BE(1);
  if (length > maxMessageBytes)
    throw new TooLarge(`a message of ${length} bytes is above the limit of ${maxMessageBytes}`);
  return length;
}
