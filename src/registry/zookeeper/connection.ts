import { connect, type Socket } from 'node:net';
import { addressOf } from '../../core/instance.ts';
import type { Clock } from '../../core/clock.ts';
import { RegistryRefusal } from '../backend.ts';
import { abortReason } from '../http-exchange.ts';
import { explainNetworkError, RegistryUnreachable, type NetworkFault, type RegistryLabel } from '../network-fault.ts';
import { frame, FrameReader } from './frames.ts';
import { JuteReader, MalformedJute } from './jute.ts';
import {
  authBody,
  CODE,
  connectReply,
  connectRequest,
  NO_SESSION,
  OP,
  replyHeader,
  request,
  ServerVerdict,
  watchEvent,
  XID,
  type SessionTicket,
  type WatchEvent,
} from './messages.ts';

export interface ConnectionOptions extends RegistryLabel {
  readonly server: { readonly host: string; readonly port: number };
  /** The digest scheme; sent again on every connection, because the server forgets it with the old one. */
  readonly auth: { readonly user: string; readonly password: string } | undefined;
  readonly sessionTimeoutMs: number;
  /** Until the session is there. */
  readonly connectMs: number;
  /** Without any reply while some are due. */
  readonly requestMs: number;
  readonly maxFrameBytes: number;
  readonly clock: Clock;
}

/** Told of what comes without being asked for. */
export interface ConnectionListener {
  onEvent(event: WatchEvent): void;
  /** The server answered a ping. */
  onPulse(): void;
  /** Once; nothing follows it. */
  onLost(error: Error): void;
}

/** The session that was to be resumed is over: its watches are gone, and it cannot be had again. */
export class SessionExpired extends Error {
  override readonly name = 'SessionExpired';
}

interface Pending {
  readonly xid: number;
  readonly resolve: (reply: JuteReader) => void;
  readonly reject: (error: Error) => void;
}

const NOBODY: ConnectionListener = { onEvent: () => undefined, onPulse: () => undefined, onLost: () => undefined };

/**
 * One connection to one server, with its session. Replies come in the order of the requests, and events in their place
 * between them: what a read shows is newer than every event before it.
 */
export class ZookeeperConnection {
  readonly endpoint: string;
  session: SessionTicket = NO_SESSION;
  /** As the server granted it. */
  sessionTimeoutMs = 0;
  /** The newest transaction that the server is known to have seen. */
  zxid = 0n;
  readonly #options: ConnectionOptions;
  readonly #listener: ConnectionListener;
  readonly #signal: AbortSignal;
  readonly #socket: Socket;
  readonly #frames: FrameReader;
  readonly #opened = Promise.withResolvers<undefined>();
  readonly #onAbort = (): void => this.#end(abortReason(this.#signal));
  #pending: Pending[] = [];
  /** Index of the oldest request in `#pending` that is not answered: shifting a long array costs its length. */
  #answered = 0;
  #lastXid = 0;
  #state: 'connecting' | 'open' | 'closed' = 'connecting';
  #error: Error | undefined;
  #corked = false;
  #heardMs: number;
  #repliedMs: number;
  #pingedMs: number;
  #cancelTimer: () => void;

  private constructor(
    options: ConnectionOptions,
    ticket: SessionTicket,
    listener: ConnectionListener,
    signal: AbortSignal,
  ) {
    this.#options = options;
    this.#listener = listener;
    this.#signal = signal;
    this.endpoint = addressOf(options.server);
    this.#frames = new FrameReader(options.maxFrameBytes);
    this.#heardMs = this.#repliedMs = this.#pingedMs = options.clock.now();
    this.#cancelTimer = options.clock.after(options.connectMs, () => {
      this.#lose('timeout', `no session within ${options.connectMs} ms: it hangs or is cut off; ${this.#advice}`);
    });
    this.#socket = connect({ ...options.server, noDelay: true, keepAlive: true, keepAliveInitialDelay: 15_000 });
    this.#socket.on('connect', () => {
      this.#socket.write(frame(connectRequest(options.sessionTimeoutMs, ticket)));
    });
    this.#socket.on('data', (chunk) => this.#receive(chunk));
    this.#socket.on('error', (error) => {
      this.#end(new RegistryUnreachable(options, this.endpoint, explainNetworkError(error, options, false), error));
    });
    this.#socket.on('close', () => this.#lose('reset', `${this.#closedText} (the connection ended); ${this.#advice}`));
    signal.addEventListener('abort', this.#onAbort, { once: true });
  }

  /**
   * Connects, begins or resumes a session, and says who we are. Throws `SessionExpired` where the ticket is no longer
   * good: the server has closed the connection then.
   */
  static async open(
    options: ConnectionOptions,
    signal: AbortSignal,
    listener: ConnectionListener = NOBODY,
    ticket: SessionTicket = NO_SESSION,
  ): Promise<ZookeeperConnection> {
    signal.throwIfAborted();
    const connection = new ZookeeperConnection(options, ticket, listener, signal);
    try {
      await connection.#opened.promise;
      if (options.auth) {
        const { user, password } = options.auth;
        await connection.#send(XID.auth, OP.auth, authBody(user, password));
      }
      return connection;
    } catch (error) {
      connection.close();
      if (!(error instanceof ServerVerdict)) throw error;
      throw new RegistryRefusal(
        `registry "${options.registry}" at ${connection.endpoint} refused us: ${error.message}; check registries[].auth.user and registries[].auth.password`,
        { cause: error },
      );
    }
  }

  /** The body of the reply. Throws `ServerVerdict`, or what ended the connection. */
  request(op: number, body: Buffer): Promise<JuteReader> {
    this.#lastXid = this.#lastXid === 0x7fff_ffff ? 1 : this.#lastXid + 1;
    return this.#send(this.#lastXid, op, body);
  }

  /** Says goodbye, so that the server forgets the session at once. Idempotent. */
  close(): void {
    if (this.#state === 'open') this.#write(request(0, OP.closeSession, Buffer.alloc(0)));
    this.#end(new Error('closed'));
  }

  get isOpen(): boolean {
    return this.#state === 'open';
  }

  get #advice(): string {
    return `if it never works, check registries[].${this.#options.addressSetting}`;
  }

  get #closedText(): string {
    return this.#state === 'connecting'
      ? 'hung up before it gave us a session: it has no quorum, or too many connections from here (maxClientCnxns), or is no ZooKeeper'
      : 'hung up: it is going down, lost its quorum, or our session expired';
  }

  #send(xid: number, op: number, body: Buffer): Promise<JuteReader> {
    if (this.#error) return Promise.reject(this.#error);
    const { promise, resolve, reject } = Promise.withResolvers<JuteReader>();
    if (this.#answered === this.#pending.length) this.#repliedMs = this.#options.clock.now();
    this.#pending.push({ xid, resolve, reject });
    this.#write(request(xid, op, body));
    return promise;
  }

  #write(message: Buffer): void {
    if (!this.#corked) {
      // Requests of one turn leave together: a list of ten thousand nodes is not ten thousand packets.
      this.#corked = true;
      this.#socket.cork();
      queueMicrotask(() => {
        this.#corked = false;
        this.#socket.uncork();
      });
    }
    this.#socket.write(frame(message));
  }

  #receive(chunk: Buffer): void {
    this.#heardMs = this.#options.clock.now();
    try {
      for (const message of this.#frames.push(chunk)) {
        if (this.#state === 'closed') return;
        if (this.#state === 'connecting') this.#open(message);
        else this.#dispatch(message);
      }
    } catch (error) {
      if (!(error instanceof MalformedJute)) throw error;
      const { addressSetting } = this.#options;
      this.#lose(
        'protocol',
        `answered what ZooKeeper would not: ${error.message}; check registries[].${addressSetting}`,
        error,
      );
    }
  }

  #open(message: Buffer): void {
    const { timeoutMs, session } = connectReply(message);
    if (timeoutMs <= 0) {
      this.#end(new SessionExpired(`the session has expired at ${this.endpoint}`));
      return;
    }
    this.session = session;
    this.sessionTimeoutMs = timeoutMs;
    this.#state = 'open';
    this.#cancelTimer();
    this.#tick();
    this.#opened.resolve(undefined);
  }

  #dispatch(message: Buffer): void {
    const reader = new JuteReader(message);
    const { xid, zxid, code } = replyHeader(reader);
    if (zxid > this.zxid) this.zxid = zxid;
    if (xid === XID.event) {
      this.#listener.onEvent(watchEvent(reader));
      return;
    }
    if (xid === XID.ping) {
      this.#listener.onPulse();
      return;
    }
    const due = this.#pending[this.#answered];
    if (due?.xid !== xid) throw new MalformedJute(`an answer to request ${xid}, when ${due?.xid ?? 'none'} was due`);
    this.#answered += 1;
    if (this.#answered === this.#pending.length || this.#answered >= 4096) {
      this.#pending = this.#pending.slice(this.#answered);
      this.#answered = 0;
    }
    this.#repliedMs = this.#heardMs;
    if (code === 0) {
      due.resolve(reader);
      return;
    }
    if (code === CODE.sessionExpired) this.#lose('reset', `our session expired; ${this.#advice}`);
    due.reject(this.#error ?? new ServerVerdict(code));
  }

  /** The shorter of what we asked for and what the server granted: it cannot stretch the time a loss goes unnoticed. */
  get #patienceMs(): number {
    return Math.min(this.#options.sessionTimeoutMs, this.sessionTimeoutMs);
  }

  /** Pings at a third of the session timeout; gives up at two thirds, in time to reach another server within it. */
  #tick(): void {
    const nowMs = this.#options.clock.now();
    if (nowMs - this.#pingedMs >= this.#patienceMs / 3) {
      this.#pingedMs = nowMs;
      this.#write(request(XID.ping, OP.ping, Buffer.alloc(0)));
    }
    this.#cancelTimer = this.#options.clock.after(this.#patienceMs / 6, () => {
      if (this.#overdue() === undefined) {
        this.#tick();
        return;
      }
      // After a pause of this process the timer runs before the socket is read: what came meanwhile counts.
      setImmediate(() => {
        const overdue = this.#overdue();
        if (this.#state === 'closed') return;
        if (overdue === undefined) this.#tick();
        else this.#lose('timeout', `${overdue}: it hangs or is cut off; ${this.#advice}`);
      });
    });
  }

  #overdue(): string | undefined {
    const nowMs = this.#options.clock.now();
    const silenceMs = (2 * this.#patienceMs) / 3;
    if (nowMs - this.#heardMs >= silenceMs) return `nothing heard for ${Math.round(silenceMs)} ms`;
    const { requestMs } = this.#options;
    const waiting = this.#pending.length > this.#answered;
    return waiting && nowMs - this.#repliedMs >= requestMs ? `no answer within ${requestMs} ms` : undefined;
  }

  #lose(fault: NetworkFault, text: string, cause?: unknown): void {
    if (!this.#error) this.#end(new RegistryUnreachable(this.#options, this.endpoint, { fault, text }, cause));
  }

  #end(error: Error): void {
    if (this.#error) return;
    this.#error = error;
    const wasOpen = this.#state === 'open';
    this.#state = 'closed';
    this.#cancelTimer();
    this.#signal.removeEventListener('abort', this.#onAbort);
    // Lets a goodbye that was just written leave.
    if (wasOpen && this.#socket.writable) this.#socket.destroySoon();
    else this.#socket.destroy();
    this.#opened.reject(error);
    const unanswered = this.#pending.slice(this.#answered);
    this.#pending = [];
    this.#answered = 0;
    for (const { reject } of unanswered) reject(error);
    this.#listener.onLost(error);
  }
}
