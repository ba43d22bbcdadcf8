import { ProtoReader, ProtoWriter } from './protobuf.ts';

/**
 * The part of etcd's API v3 that is used here: api/etcdserverpb/rpc.proto and api/mvccpb/kv.proto of etcd 3.4 and
 * later, whose field numbers never change. Each function names its message.
 */
export const RANGE = '/etcdserverpb.KV/Range';
export const WATCH = '/etcdserverpb.Watch/Watch';
export const AUTHENTICATE = '/etcdserverpb.Auth/Authenticate';
export const STATUS = '/etcdserverpb.Maintenance/Status';

/** All keys from `from` to before `to`. Bytes, not texts: the end of a prefix need not be valid UTF-8. */
export interface KeyRange {
  readonly from: Buffer;
  readonly to: Buffer;
}

export interface Header {
  /** Of the whole store; grows with every write to any key. */
  readonly revision: bigint;
  /** Grows with every election. */
  readonly raftTerm: bigint;
}

export interface KeyValue {
  readonly key: string;
  /** The key before it was made a text, which loses what is not UTF-8. */
  readonly rawKey: Buffer;
  readonly value: Buffer;
}

export interface RangeReply {
  readonly header: Header;
  readonly pairs: readonly KeyValue[];
  /** There are keys beyond `limit`. */
  readonly more: boolean;
}

export interface WatchEvent extends KeyValue {
  readonly deleted: boolean;
}

export interface WatchReply {
  readonly header: Header;
  readonly watchId: bigint;
  readonly created: boolean;
  readonly canceled: boolean;
  /** > 0: what was asked for is compacted away, and the watch over. */
  readonly compactRevision: bigint;
  readonly cancelReason: string;
  readonly events: readonly WatchEvent[];
}

const NO_HEADER: Header = { revision: 0n, raftTerm: 0n };

/** RangeRequest. Revision 0 = the newest, after a round to a quorum (linearizable). */
export function rangeRequest(
  range: KeyRange,
  options: { limit: number; revision: bigint; keysOnly?: boolean },
): Buffer {
  return new ProtoWriter()
    .bytes(1, range.from)
    .bytes(2, range.to)
    .varint(3, options.limit)
    .varint(4, options.revision)
    .varint(8, options.keysOnly ?? false)
    .finish();
}

/** RangeResponse. */
export function rangeReply(buffer: Buffer): RangeReply {
  const reader = new ProtoReader(buffer);
  const pairs: KeyValue[] = [];
  let header = NO_HEADER;
  let more = false;
  while (reader.next()) {
    if (reader.field === 1) header = readHeader(reader.message());
    else if (reader.field === 2) pairs.push(readKeyValue(reader.message()));
    else if (reader.field === 3) more = reader.bool();
    else reader.skip();
  }
  return { header, pairs, more };
}

/** WatchRequest with a WatchCreateRequest: events from `startRevision` on, progress notified, large frames in parts. */
export function watchCreateRequest(range: KeyRange, startRevision: bigint): Buffer {
  const create = new ProtoWriter()
    .bytes(1, range.from)
    .bytes(2, range.to)
    .varint(3, startRevision)
    .varint(4, true)
    .varint(8, true);
  return new ProtoWriter().message(1, create).finish();
}

/** WatchResponse. */
export function watchReply(buffer: Buffer): WatchReply {
  const reader = new ProtoReader(buffer);
  const events: WatchEvent[] = [];
  const reply = {
    header: NO_HEADER,
    watchId: 0n,
    created: false,
    canceled: false,
    compactRevision: 0n,
    cancelReason: '',
    events,
  };
  while (reader.next()) {
    if (reader.field === 1) reply.header = readHeader(reader.message());
    else if (reader.field === 2) reply.watchId = reader.int64();
    else if (reader.field === 3) reply.created = reader.bool();
    else if (reader.field === 4) reply.canceled = reader.bool();
    else if (reader.field === 5) reply.compactRevision = reader.int64();
    else if (reader.field === 6) reply.cancelReason = reader.text();
    else if (reader.field === 11) events.push(readEvent(reader.message()));
    else reader.skip();
  }
  return reply;
}

/** AuthenticateRequest. */
export function authenticateRequest(username: string, password: string): Buffer {
  return new ProtoWriter().bytes(1, username).bytes(2, password).finish();
}

/** The token of an AuthenticateResponse. */
export function authenticateReply(buffer: Buffer): string {
  const reader = new ProtoReader(buffer);
  let token = '';
  while (reader.next()) {
    if (reader.field === 2) token = reader.text();
    else reader.skip();
  }
  return token;
}

/** The leader's member id of a StatusResponse, in hexadecimal as `etcdctl` prints it; undefined = there is none. */
export function statusLeader(buffer: Buffer): string | undefined {
  const reader = new ProtoReader(buffer);
  let leader = 0n;
  while (reader.next()) {
    if (reader.field === 4) leader = reader.uint64();
    else reader.skip();
  }
  return leader === 0n ? undefined : leader.toString(16);
}

/** ResponseHeader. */
function readHeader(reader: ProtoReader): Header {
  let revision = 0n;
  let raftTerm = 0n;
  while (reader.next()) {
    if (reader.field === 3) revision = reader.int64();
    else if (reader.field === 4) raftTerm = reader.uint64();
    else reader.skip();
  }
  return { revision, raftTerm };
}

/** mvccpb.KeyValue. */
function readKeyValue(reader: ProtoReader): KeyValue {
  let rawKey = EMPTY;
  let value = EMPTY;
  while (reader.next()) {
    if (reader.field === 1) rawKey = reader.bytes();
    else if (reader.field === 5) value = reader.bytes();
    else reader.skip();
  }
  return { key: rawKey.toString('utf8'), rawKey, value };
}

const EMPTY: Buffer = Buffer.alloc(0);

/** mvccpb.Event: PUT = 0, DELETE = 1. */
function readEvent(reader: ProtoReader): WatchEvent {
  let deleted = false;
  let pair: KeyValue = { key: '', rawKey: EMPTY, value: EMPTY };
  while (reader.next()) {
    if (reader.field === 1) deleted = reader.uint64() === 1n;
    else if (reader.field === 2) pair = readKeyValue(reader.message());
    else reader.skip();
  }
  return { ...pair, deleted };
}
