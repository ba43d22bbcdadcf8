import type { Clock } from '../../../core/clock.ts';
import { type Problem, invalid } from './problem.ts';

export interface BodyLimits {
  readonly clock: Clock;
  readonly maxBytes: number;
  readonly timeoutMs: number;
  /** Whatever the content type says, or does not. */
  readonly anyType?: boolean;
}

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

async function readBytes(
  request: Request,
  { clock, maxBytes, timeoutMs }: BodyLimits,
): Promise<{ readonly value: Buffer } | { readonly problem: Problem }> {
  const reader = (request.body as ReadableStream<Uint8Array> | null)?.getReader();
  if (!reader) return { value: Buffer.alloc(0) };
  const deadline = new AbortController();
  const stop = clock.after(timeoutMs, () => {
    deadline.abort();
    // Ends the read that is going on, with `done`.
    reader.cancel().catch(() => undefined);
  });
  const chunks: Uint8Array[] = [];
  let length = 0;
  try {
    while (true) {
      const { done, value } = await reader.read();
      if (done) break;
      length += value.length;
      if (length > maxBytes) {
        reader.cancel().catch(() => undefined);
        return tooLarge({ maxBytes });
      }
      chunks.push(value);
    }
  } catch {
    // The client went away or sent no valid HTTP: nobody hears this answer.
    return { problem: { status: 400, title: 'The body ended too early' } };
  } finally {
    stop();
  }
  if (deadline.signal.aborted)
    return { problem: { status: 408, title: 'The body took too long', headers: { connection: 'close' } } };
  return { value: Buffer.concat(chunks) };
}

function parse(bytes: Buffer): Read {
  try {
    return { value: JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes)) as unknown };
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
