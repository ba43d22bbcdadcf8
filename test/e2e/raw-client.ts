import net from 'node:net';

export interface RawAnswer {
  readonly status: number;
  readonly head: string;
  readonly bodyBytes: number;
}

/** What became of a request: an answer, or the connection that ended before there was a whole one. */
export type RawOutcome = RawAnswer | 'broken';

const LAST_CHUNK = Buffer.from('0\r\n\r\n');

/**
 * One keep-alive connection, one request at a time, cheap enough to make thousands of requests per second. Chunked
 * bodies must not contain what ends them.
 */
export class RawClient {
  readonly socket: net.Socket;
  #head: string | undefined;
  #early: Buffer = Buffer.alloc(0);
  #bodyBytes = 0;
  /** -1 = chunked. */
  #expected = 0;
  #settle: ((outcome: RawOutcome) => void) | undefined;
  #tunnel: ((bytes: Buffer) => void) | undefined;

  constructor(port: number) {
    this.socket = net.connect(port, '127.0.0.1');
    this.socket.setNoDelay(true);
    this.socket.on('data', (bytes) => {
      if (this.#tunnel) this.#tunnel(bytes);
      else if (this.#head === undefined) this.#readHead(bytes);
      else this.#readBody(bytes);
    });
    this.socket.on('error', () => undefined);
    this.socket.on('close', () => {
      this.#finish('broken');
    });
    this.socket.on('end', () => {
      this.#finish('broken');
    });
  }

  get usable(): boolean {
    return this.socket.writable && this.socket.readable && this.#settle === undefined;
  }

  /** Resolves with 'broken' too when the connection is ended from here. */
  ask(...parts: readonly (string | Buffer)[]): Promise<RawOutcome> {
    return new Promise((resolve) => {
      this.#settle = resolve;
      if (this.socket.destroyed) this.#finish('broken');
      this.socket.cork();
      for (const part of parts) this.socket.write(part);
      this.socket.uncork();
    });
  }

  /** After 101: sends, and resolves once as many bytes have come back, or the connection has ended before. */
  echo(bytes: Buffer): Promise<'echoed' | 'altered' | 'broken'> {
    return new Promise((resolve) => {
      let left = bytes.length;
      this.#tunnel = (got) => {
        left -= got.length;
        if (left <= 0) resolve(left === 0 ? 'echoed' : 'altered');
      };
      this.socket.once('close', () => {
        resolve('broken');
      });
      this.socket.write(bytes);
    });
  }

  close(): void {
    this.socket.destroy();
  }

  #readHead(bytes: Buffer): void {
    const all = this.#early.length === 0 ? bytes : Buffer.concat([this.#early, bytes]);
    const end = all.indexOf('\r\n\r\n');
    if (end < 0) {
      this.#early = all;
      return;
    }
    this.#early = Buffer.alloc(0);
    this.#head = all.toString('latin1', 0, end);
    this.#bodyBytes = 0;
    const length = /content-length: (\d+)/i.exec(this.#head)?.[1];
    this.#expected = length === undefined ? (/transfer-encoding: chunked/i.test(this.#head) ? -1 : 0) : Number(length);
    this.#readBody(all.subarray(end + 4));
  }

  #readBody(bytes: Buffer): void {
    this.#bodyBytes += bytes.length;
    const done =
      this.#expected < 0 ? bytes.subarray(-LAST_CHUNK.length).equals(LAST_CHUNK) : this.#bodyBytes >= this.#expected;
    const head = this.#head;
    if (!done || head === undefined) return;
    const answer = { status: Number(head.slice(9, 12)), head, bodyBytes: this.#bodyBytes };
    if (/connection: close/i.test(head)) this.socket.end();
    this.#finish(answer);
  }

  #finish(outcome: RawOutcome): void {
    const settle = this.#settle;
    this.#settle = undefined;
    this.#head = undefined;
    settle?.(outcome);
  }
}
