import type { Clock } from '../../../core/clock.ts';
import { type Problem, invalid } from './problem.ts';

export interface BodyLimits {
  readonly clock: Clock;
  readonly maxBytes: number;
  readonly timeoutMs: number;
  /** Whatever the content type says, or does not. */
  readonly anyType?: boolean;
}

const utf8 = new TextDecoder('utf-8', { fatal: true });

type Read = { readonly value: unknown } | { readonly problem: Problem };

/** Reads a JSON body, looking at its size while it arrives. Whatever is wrong with it is an answer, not an error. */
export async function readJson(request: Request, limits: BodyLimits): Promise<Read> {
  const [type = ''] = (request.headers.get('content-type') ?? '').toLowerCase().split(';');
  const coding = request.headers.get('content-encoding') ?? 'identity';
  const isJson = limits.anyType === true || type.trim() === 'application/json';
  if (!isJson || coding.toLowerCase() !== 'identity') {
    // Browsers send no such type across sites without asking first, which keeps web pages out of a local registry.
    return {
      problem: {
        status: 415,
        title: 'The body must be JSON',
        detail:
          "Send it uncompressed, with Content-Type: application/json (curl: -H 'Content-Type: application/json').",
      },
    };
  }
  if (Number(request.headers.get('content-length') ?? 0) > limits.maxBytes) return tooLarge(limits);
  const bytes = await readBytes(request, limits);
  return 'problem' in bytes ? bytes : parse(bytes.value);
}

type Bytes = { readonly value: Uint8Array } | { readonly problem: Problem };

/** A body whose length was told is read whole, at a third of the cost: there is nothing to look at while it arrives. */
async function readBytes(request: Request, limits: BodyLimits): Promise<Bytes> {
  const deadline = Promise.withResolvers<Bytes>();
  const reading = request.headers.has('content-length') ? whole(request, limits) : inChunks(request, limits);
  const stop = limits.clock.after(limits.timeoutMs, () => {
    reading.giveUp();
    deadline.resolve({ problem: { status: 408, title: 'The body took too long', headers: { connection: 'close' } } });
  });
  // The client went away or sent no valid HTTP: nobody hears this answer.
  const ended = reading.bytes.catch((): Bytes => ({ problem: { status: 400, title: 'The body ended too early' } }));
  return Promise.race([ended, deadline.promise]).finally(stop);
}

interface Reading {
  readonly bytes: Promise<Bytes>;
  readonly giveUp: () => void;
}

function whole(request: Request, limits: BodyLimits): Reading {
  const bytes = request
    .arrayBuffer()
    .then((read): Bytes => (read.byteLength > limits.maxBytes ? tooLarge(limits) : { value: new Uint8Array(read) }));
  // The answer closes the connection, and that ends the reading.
  return { bytes, giveUp: () => undefined };
}

function inChunks(request: Request, limits: BodyLimits): Reading {
  const reader = (request.body as ReadableStream<Uint8Array> | null)?.getReader();
  if (!reader) return { bytes: Promise.resolve({ value: new Uint8Array() }), giveUp: () => undefined };
  const giveUp = (): void => void reader.cancel().catch(() => undefined);
  const read = async (): Promise<Bytes> => {
    const chunks: Uint8Array[] = [];
    let length = 0;
    while (true) {
      const { done, value } = await reader.read();
      if (done) return { value: Buffer.concat(chunks) };
      length += value.length;
      if (length > limits.maxBytes) {
        giveUp();
        return tooLarge(limits);
      }
      chunks.push(value);
    }
  };
  return { bytes: read(), giveUp };
}

function parse(bytes: Uint8Array): Read {
  try {
    return { value: JSON.parse(utf8.decode(bytes)) as unknown };
  } catch (error) {
    const why = error instanceof SyntaxError ? 'is not valid JSON' : 'is not valid UTF-8';
    return { problem: invalid({ field: 'body', message: bytes.length === 0 ? 'is missing' : why }) };
  }
}

function tooLarge({ maxBytes }: Pick<BodyLimits, 'maxBytes'>): { readonly problem: Problem } {
  return {
    problem: {
      status: 413,
      title: 'The body is too large',
      detail: `At most ${maxBytes} bytes are read.`,
      headers: { connection: 'close' },
    },
  };
}
