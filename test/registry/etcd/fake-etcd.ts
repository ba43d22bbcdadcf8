import { once } from 'node:events';
import { createServer, type Http2Server, type ServerHttp2Session, type ServerHttp2Stream } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { frame, messages } from '../../../src/registry/etcd/grpc-framing.ts';
import { ProtoReader, ProtoWriter } from '../../../src/registry/etcd/protobuf.ts';

export interface RangeCall {
  readonly limit: number;
  readonly revision: bigint;
  readonly keysOnly: boolean;
  readonly from: string;
  readonly token: string | undefined;
}

export interface Status {
  readonly code: number;
  readonly message: string;
}

export interface Pairs {
  readonly revision: bigint;
  readonly pairs?: Readonly<Record<string, string>>;
  readonly more?: boolean;
  readonly raftTerm?: bigint;
}

/** An etcd that does what a script says: for what a real one does only once in a blue moon. */
export class FakeEtcd {
  readonly ranges: RangeCall[] = [];
  /** The start revision of every watch that was asked for. */
  readonly starts: bigint[] = [];
  readonly tokens: (string | undefined)[] = [];
  authentications = 0;
  /** Lists; probes are answered by `onProbe`. */
  onRange: (call: RangeCall, turn: number) => Pairs | Status | undefined = () => ({ revision: 1n });
  onProbe: () => Pairs | Status | undefined = () => ({ revision: 1n });
  /** Called for every watch that is created, in order; confirms it as the real one does unless told otherwise. */
  onWatch: (watch: FakeWatch, turn: number) => void = (watch) => watch.created();
  onAuthenticate: () => string | Status = () => `token-${this.authentications}`;
  readonly #server: Http2Server;
  readonly #sessions = new Set<ServerHttp2Session>();

  private constructor(server: Http2Server) {
    this.#server = server;
    server.on('session', (session) => {
      this.#sessions.add(session);
      session.on('error', () => session.destroy());
      session.on('close', () => this.#sessions.delete(session));
    });
    server.on('stream', (stream, headers) => {
      stream.on('error', () => stream.close());
      const token = headers['token'];
      this.#serve(stream, headers[':path'] ?? '', typeof token === 'string' ? token : undefined).catch(() =>
        stream.destroy(),
      );
    });
  }

  static async start(): Promise<FakeEtcd> {
    const server = createServer();
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return new FakeEtcd(server);
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** Says that it is about to shut down. */
  goAway(): void {
    for (const session of this.#sessions) session.goaway();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const session of this.#sessions) session.destroy();
    const closed = once(this.#server, 'close');
    this.#server.close();
    await closed;
  }

  async #serve(stream: ServerHttp2Stream, path: string, token: string | undefined): Promise<void> {
    const method = path.split('/').at(-1);
    for await (const message of messages(stream as AsyncIterable<Buffer>, 1_000_000)) {
      if (method === 'Range') this.#range(stream, message, token);
      else if (method === 'Watch') this.#watch(stream, message, token);
      else if (method === 'Authenticate') this.#authenticate(stream);
      else reply(stream, new ProtoWriter().varint(4, 0xabcn));
    }
  }

  #range(stream: ServerHttp2Stream, message: Buffer, token: string | undefined): void {
    const call = { limit: 0, revision: 0n, keysOnly: false, from: '', token };
    const reader = new ProtoReader(message);
    while (reader.next()) {
      if (reader.field === 1) call.from = reader.text();
      else if (reader.field === 3) call.limit = Number(reader.int64());
      else if (reader.field === 4) call.revision = reader.int64();
      else if (reader.field === 8) call.keysOnly = reader.bool();
      else reader.skip();
    }
    if (!call.keysOnly) this.ranges.push(call);
    const answer = call.keysOnly ? this.onProbe() : this.onRange(call, this.ranges.length - 1);
    if (!answer) return;
    if ('code' in answer) {
      refuse(stream, answer);
      return;
    }
    const body = new ProtoWriter().message(1, header(answer.revision, answer.raftTerm ?? 2n));
    for (const [key, value] of Object.entries(answer.pairs ?? {})) {
      body.message(2, new ProtoWriter().bytes(1, key).bytes(5, value));
    }
    reply(stream, body.varint(3, answer.more ?? false));
  }

  #watch(stream: ServerHttp2Stream, message: Buffer, token: string | undefined): void {
    const request = new ProtoReader(message);
    request.next();
    const create = request.message();
    while (create.next()) {
      if (create.field === 3) this.starts.push(create.int64());
      else create.skip();
    }
    this.tokens.push(token);
    if (!stream.headersSent) respond(stream);
    this.onWatch(new FakeWatch(stream), this.starts.length - 1);
  }

  #authenticate(stream: ServerHttp2Stream): void {
    this.authentications += 1;
    const answer = this.onAuthenticate();
    if (typeof answer === 'string') reply(stream, new ProtoWriter().bytes(2, answer));
    else refuse(stream, answer);
  }
}

/** The server's end of one watch. */
export class FakeWatch {
  readonly #stream: ServerHttp2Stream;

  constructor(stream: ServerHttp2Stream) {
    this.#stream = stream;
  }

  created(revision = 1n): void {
    this.#send(new ProtoWriter().message(1, header(revision)).varint(3, true));
  }

  refused(reason: string): void {
    this.#send(
      new ProtoWriter().message(1, header(1n)).varint(2, -1n).varint(3, true).varint(4, true).bytes(6, reason),
    );
  }

  compacted(revision: bigint): void {
    this.#send(new ProtoWriter().message(1, header(revision)).varint(4, true).varint(5, revision));
  }

  progress(revision: bigint): void {
    this.#send(new ProtoWriter().message(1, header(revision)));
  }

  /** undefined = deleted. `fragment`: more of the same revision follows. */
  events(revision: bigint, changes: Readonly<Record<string, string | undefined>>, fragment = false): void {
    const body = new ProtoWriter().message(1, header(revision)).varint(7, fragment);
    for (const [key, value] of Object.entries(changes)) {
      const pair = new ProtoWriter().bytes(1, key).bytes(5, value ?? '');
      body.message(11, new ProtoWriter().varint(1, value === undefined).message(2, pair));
    }
    this.#send(body);
  }

  end(status: Status): void {
    this.#stream.on('wantTrailers', () => this.#stream.sendTrailers(trailers(status)));
    this.#stream.end();
  }

  #send(body: ProtoWriter): void {
    if (!this.#stream.destroyed) this.#stream.write(frame(body.finish()));
  }
}

function header(revision: bigint, raftTerm = 2n): ProtoWriter {
  return new ProtoWriter().varint(1, 7n).varint(2, 8n).varint(3, revision).varint(4, raftTerm);
}

function respond(stream: ServerHttp2Stream): void {
  stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
}

function trailers({ code, message }: Status): Record<string, string> {
  return { 'grpc-status': String(code), 'grpc-message': encodeURIComponent(message) };
}

function reply(stream: ServerHttp2Stream, body: ProtoWriter): void {
  respond(stream);
  stream.on('wantTrailers', () => stream.sendTrailers(trailers({ code: 0, message: '' })));
  stream.end(frame(body.finish()));
}

/** As grpc-go does it: one block of headers that is the trailers too. */
function refuse(stream: ServerHttp2Stream, status: Status): void {
  stream.respond({ ':status': 200, 'content-type': 'application/grpc', ...trailers(status) }, { endStream: true });
}
