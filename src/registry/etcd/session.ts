import type { Clock } from '../../core/clock.ts';
import { RegistryRefusal } from '../backend.ts';
import { Deadline } from '../deadline.ts';
import { RegistryUnreachable, type RegistryLabel } from '../network-fault.ts';
import type { TlsMaterial } from '../tls-material.ts';
import { GrpcStatus } from './grpc-call.ts';
import { GrpcConnection, type Metadata } from './grpc.ts';
import { rangeAfter } from './keys.ts';
import {
  AUTHENTICATE,
  authenticateReply,
  authenticateRequest,
  RANGE,
  rangeReply,
  rangeRequest,
  STATUS,
  statusLeader,
  WATCH,
  watchCreateRequest,
  type Header,
  type KeyRange,
  type KeyValue,
  type RangeReply,
  type WatchReply,
} from './messages.ts';
import { MalformedMessage } from './protobuf.ts';
import { errorOf, isAuthOff, isCompacted, wantsNewToken } from './verdict.ts';
import { Compacted, repliesOf, WatchCompacted, type WatchReplies } from './watch-replies.ts';

export interface SessionOptions extends RegistryLabel {
  readonly prefix: string;
  readonly username: string | undefined;
  readonly password: string | undefined;
  /** Until the member has spoken. */
  readonly connectMs: number;
  /** For each single request. */
  readonly requestMs: number;
  readonly pageKeys: number;
  readonly maxKeys: number;
  readonly clock: Clock;
}

/** A part of a list; the header is that of the whole list. */
export interface Page {
  readonly header: Header;
  readonly pairs: readonly KeyValue[];
}

/** Large enough for a page of large registrations. */
const MAX_MESSAGE_BYTES = 67_108_864;

/**
 * One connection to one member of the cluster, authenticated; tokens are renewed as they expire. Everything it throws
 * is a refusal, a loss with its reason, or `Compacted`.
 */
export class EtcdSession {
  readonly endpoint: string;
  readonly #connection: GrpcConnection;
  readonly #options: SessionOptions;
  readonly #signal: AbortSignal;
  readonly #onAbort = (): void => this.close();
  #token: string | undefined;

  private constructor(connection: GrpcConnection, endpoint: string, options: SessionOptions, signal: AbortSignal) {
    this.#connection = connection;
    this.endpoint = endpoint;
    this.#options = options;
    this.#signal = signal;
    signal.addEventListener('abort', this.#onAbort, { once: true });
  }

  /** Lives until `close`, or until the signal aborts. */
  static async open(
    endpoint: string,
    tls: TlsMaterial | undefined,
    options: SessionOptions,
    signal: AbortSignal,
  ): Promise<EtcdSession> {
    const { registry, addressSetting, connectMs, clock } = options;
    const grpc = { registry, addressSetting, endpoint, tls, connectMs, maxMessageBytes: MAX_MESSAGE_BYTES, clock };
    const session = new EtcdSession(await GrpcConnection.open(grpc, signal), endpoint, options, signal);
    try {
      await session.#authenticate();
    } catch (error) {
      session.close();
      throw session.#judge(error);
    }
    return session;
  }

  /** Ends the connection and everything on it. Idempotent. */
  close(): void {
    this.#signal.removeEventListener('abort', this.#onAbort);
    this.#connection.close();
  }

  /**
   * Every key of the ranges, page by page, in the order of keys within a range, and all as of one revision. The first
   * page comes from a quorum, so the revision is not older than the call. Throws `Compacted` where it did not live long
   * enough. There is at least one page, which may be empty.
   */
  async *pages(ranges: readonly KeyRange[]): AsyncGenerator<Page, void, undefined> {
    const [first, ...others] = ranges;
    if (!first) return;
    let header: Header | undefined;
    let count = 0;
    let range: KeyRange | undefined = first;
    let coming = this.#page(first, 0n);
    while (range) {
      const page: RangeReply = await coming;
      header ??= page.header;
      count += page.pairs.length;
      if (count > this.#options.maxKeys) throw this.tooManyKeys();
      const last = page.pairs.at(-1);
      range = page.more && last ? rangeAfter(range, last.rawKey) : others.shift();
      if (range) {
        // Asked for before this one is used, so that the server works while we do.
        coming = this.#page(range, header.revision);
        // Awaited in the next turn. If nobody comes for a next turn, its failure is nobody's either.
        coming.catch(() => undefined);
      }
      yield { header, pairs: page.pairs };
    }
  }

  /** A round to a quorum and back: proof of life of the connection, the member, the cluster, and our permission. */
  async probe(range: KeyRange): Promise<Header> {
    const oneKey = { from: range.from, to: Buffer.alloc(0) };
    const reply = await this.#ask(RANGE, rangeRequest(oneKey, { limit: 1, revision: 0n, keysOnly: true }), rangeReply);
    return reply.header;
  }

  /** Member id of the leader, for people; undefined where there is none, or we may not know. */
  async leader(): Promise<string | undefined> {
    try {
      return await this.#ask(STATUS, Buffer.alloc(0), statusLeader);
    } catch (error) {
      if (error instanceof RegistryRefusal || (error instanceof RegistryUnreachable && error.fault === 'unwell')) {
        return undefined;
      }
      throw error;
    }
  }

  /**
   * Events of all ranges from `startRevision` on; resolves once the server has confirmed every range. Throws `Compacted`
   * where that revision is gone, then or later. Progress notifications come as replies without events.
   */
  watch(ranges: readonly KeyRange[], startRevision: bigint): Promise<WatchReplies> {
    return this.#withToken(() => this.#openWatch(ranges, startRevision));
  }

  tooManyKeys(): RegistryRefusal {
    const { registry, prefix, maxKeys } = this.#options;
    const where = `registry "${registry}" at ${this.endpoint}`;
    return new RegistryRefusal(`${where} has more than ${maxKeys} keys under ${prefix}: narrow registries[].prefix`);
  }

  async #openWatch(ranges: readonly KeyRange[], startRevision: bigint): Promise<WatchReplies> {
    const call = this.#connection.stream(WATCH, this.#metadata());
    const replies = repliesOf(call);
    const deadline = new Deadline(this.#options.clock, (passed) => call.fail(passed));
    deadline.set('confirmation of a watch', this.#options.requestMs);
    const early: WatchReply[] = [];
    try {
      for (const range of ranges) call.send(watchCreateRequest(range, startRevision));
      for (let created = 0; created < ranges.length;) {
        const next = await replies.next();
        if (next.done === true) throw new GrpcStatus(0, 'the watch ended before it began');
        // Its header carries the current revision, ahead of events still to come: nothing may be read into it.
        if (next.value.created) created += 1;
        else early.push(next.value);
      }
    } catch (error) {
      call.fail(new Error('given up'));
      throw error;
    } finally {
      deadline.clear();
    }
    return this.#judged(early, replies);
  }

  async *#judged(early: readonly WatchReply[], replies: WatchReplies): WatchReplies {
    try {
      yield* early;
      yield* replies;
    } catch (error) {
      throw this.#judge(error);
    }
    throw this.#judge(new GrpcStatus(0, 'the server ended the watch'));
  }

  /** Smaller and smaller pages, where registrations are so large that a page of them is above the limit. */
  async #page(range: KeyRange, revision: bigint): Promise<RangeReply> {
    for (let limit = this.#options.pageKeys; ; limit = Math.ceil(limit / 8)) {
      try {
        return await this.#ask(RANGE, rangeRequest(range, { limit, revision }), rangeReply);
      } catch (error) {
        if (!(error instanceof RegistryUnreachable && error.fault === 'too-large') || limit === 1) throw error;
      }
    }
  }

  #ask<T>(path: string, message: Buffer, read: (answer: Buffer) => T): Promise<T> {
    return this.#withToken(async () => {
      const answer = await this.#connection.unary(path, message, this.#metadata(), this.#options.requestMs);
      return read(answer);
    });
  }

  async #withToken<T>(call: () => Promise<T>): Promise<T> {
    try {
      return await call();
    } catch (error) {
      if (!(error instanceof GrpcStatus && wantsNewToken(error))) throw this.#judge(error);
    }
    try {
      await this.#authenticate();
      return await call();
    } catch (error) {
      throw this.#judge(error);
    }
  }

  async #authenticate(): Promise<void> {
    const { username, password, requestMs } = this.#options;
    if (username === undefined) return;
    try {
      const request = authenticateRequest(username, password ?? '');
      this.#token = authenticateReply(await this.#connection.unary(AUTHENTICATE, request, {}, requestMs));
    } catch (error) {
      if (!(error instanceof GrpcStatus && isAuthOff(error))) throw error;
      this.#token = undefined;
    }
  }

  #metadata(): Metadata {
    // hasleader: a member that has lost its cluster ends the call, in place of serving a table that stands still.
    return this.#token === undefined ? { hasleader: 'true' } : { hasleader: 'true', token: this.#token };
  }

  #judge(error: unknown): unknown {
    const { registry, addressSetting, prefix, username } = this.#options;
    const context = { registry, addressSetting, endpoint: this.endpoint, prefix, username };
    if (error instanceof MalformedMessage) {
      const text = `answered what etcd would not: ${error.message}; check registries[].${addressSetting}`;
      return new RegistryUnreachable(context, this.endpoint, { fault: 'protocol', text }, error);
    }
    if (error instanceof WatchCompacted) return new Compacted(context, this.endpoint, error);
    if (!(error instanceof GrpcStatus)) return error;
    return isCompacted(error) ? new Compacted(context, this.endpoint, error) : errorOf(error, context);
  }
}
