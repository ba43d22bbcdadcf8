import { JuteReader, JuteWriter, MalformedJute } from './jute.ts';

/** Operations (ZooDefs.OpCode) that this client sends. */
export const OP = {
  exists: 3,
  getData: 4,
  sync: 9,
  ping: 11,
  getChildren2: 12,
  auth: 100,
  addWatch: 106,
  closeSession: -11,
} as const;

/** Request numbers with a meaning of their own. Ours count up from 1. */
export const XID = { event: -1, ping: -2, auth: -4 } as const;

/** Verdicts of the server (KeeperException.Code) that decide something here. */
export const CODE = {
  unimplemented: -6,
  noNode: -101,
  noAuth: -102,
  sessionExpired: -112,
  authFailed: -115,
  authRequired: -124,
} as const;

const CODE_NAMES: ReadonlyMap<number, string> = new Map([
  [-1, 'SYSTEMERROR'],
  [-4, 'CONNECTIONLOSS'],
  [-5, 'MARSHALLINGERROR'],
  [-6, 'UNIMPLEMENTED'],
  [-7, 'OPERATIONTIMEOUT'],
  [-8, 'BADARGUMENTS'],
  [-101, 'NONODE'],
  [-102, 'NOAUTH'],
  [-112, 'SESSIONEXPIRED'],
  [-115, 'AUTHFAILED'],
  [-118, 'SESSIONMOVED'],
  [-119, 'NOTREADONLY'],
  [-124, 'SESSIONCLOSEDREQUIRESAUTH'],
  [-127, 'THROTTLEDOP'],
]);

/** The server carried out nothing, and says why. */
export class ServerVerdict extends Error {
  override readonly name = 'ServerVerdict';
  readonly code: number;

  constructor(code: number) {
    super(CODE_NAMES.get(code) ?? `error ${code}`);
    this.code = code;
  }
}

/** What a session is resumed with. */
export interface SessionTicket {
  readonly id: bigint;
  readonly password: Buffer;
}

export const NO_SESSION: SessionTicket = { id: 0n, password: Buffer.alloc(16) };

/**
 * `lastZxidSeen` is always sent as 0: with more, a server behind it refuses us, and one restored from a backup would
 * for ever. That no read goes back in time is what `sync` is for.
 */
export function connectRequest(timeoutMs: number, session: SessionTicket): Buffer {
  const { id, password } = session;
  return new JuteWriter().int(0).long(0n).int(timeoutMs).long(id).buffer(password).bool(false).done();
}

export interface ConnectReply {
  /** 0: the session that was to be resumed has expired. */
  readonly timeoutMs: number;
  readonly session: SessionTicket;
}

export function connectReply(bytes: Buffer): ConnectReply {
  const reader = new JuteReader(bytes);
  if (reader.int() !== 0) throw new MalformedJute('a version of the protocol other than 0');
  const timeoutMs = reader.int();
  const id = reader.long();
  // Copied, because it outlives the chunk it came in. What may follow (readOnly) is not asked for.
  return { timeoutMs, session: { id, password: Buffer.from(reader.buffer()) } };
}

export function request(xid: number, op: number, body: Buffer): Buffer {
  const header = Buffer.allocUnsafe(8);
  header.writeInt32BE(xid);
  header.writeInt32BE(op, 4);
  return Buffer.concat([header, body]);
}

/** Also for digest: the password itself goes over the wire. */
export function authBody(user: string, password: string): Buffer {
  return new JuteWriter()
    .int(0)
    .text('digest')
    .buffer(Buffer.from(`${user}:${password}`, 'utf8'))
    .done();
}

export function readBody(path: string, watch: boolean): Buffer {
  return new JuteWriter().text(path).bool(watch).done();
}

export function pathBody(path: string): Buffer {
  return new JuteWriter().text(path).done();
}

export function recursiveWatchBody(path: string): Buffer {
  return new JuteWriter().text(path).int(1).done();
}

export interface ReplyHeader {
  readonly xid: number;
  readonly zxid: bigint;
  readonly code: number;
}

export function replyHeader(reader: JuteReader): ReplyHeader {
  return { xid: reader.int(), zxid: reader.long(), code: reader.int() };
}

/** What happened to the node at `path`. `removed`: the watch itself is gone (its session, or its permission). */
export interface WatchEvent {
  readonly kind: 'created' | 'deleted' | 'changed' | 'children' | 'removed' | 'session';
  readonly path: string;
}

const EVENT_KINDS: ReadonlyMap<number, WatchEvent['kind']> = new Map([
  [-1, 'session'],
  [1, 'created'],
  [2, 'deleted'],
  [3, 'changed'],
  [4, 'children'],
  [5, 'removed'],
  [6, 'removed'],
  [7, 'removed'],
]);

export function watchEvent(reader: JuteReader): WatchEvent {
  const type = reader.int();
  const state = reader.int();
  const kind = EVENT_KINDS.get(type);
  if (!kind) throw new MalformedJute(`an event of type ${type} in state ${state}`);
  return { kind, path: reader.text() };
}
