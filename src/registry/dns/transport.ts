import { randomInt } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { connect, isIPv6 } from 'node:net';
import type { Clock } from '../../core/clock.ts';
import { Deadline } from '../deadline.ts';
import { abortReason } from '../http-exchange.ts';
import { decodeReply, encodeQuery, NotTheAnswer, type DnsReply, type Question } from './message.ts';

export interface NameServer {
  /** IP address, IPv6 without brackets. */
  readonly host: string;
  readonly port: number;
}

export interface Ask {
  readonly server: NameServer;
  readonly question: Question;
  readonly edns: boolean;
  /** Until the answer is complete. */
  readonly timeoutMs: number;
  readonly clock: Clock;
}

/** Packets that are not the answer, after which somebody floods us and guesses. */
const MAX_STRAYS = 100;

/** Unpredictable, because whoever guesses it can answer in place of the server (RFC 5452). */
function newId(): number {
  return randomInt(0x1_0000);
}

/**
 * One query over UDP, on a socket of its own: the system draws a new source port for each, and, as the socket is
 * connected, lets through only what comes from the server's address and port. Packets that are no answer are passed
 * over. Rejects with what the socket says, `DeadlinePassed`, or the reason of the signal.
 */
export function askByUdp({ server, question, edns, timeoutMs, clock }: Ask, signal: AbortSignal): Promise<DnsReply> {
  return new Promise((resolve, reject) => {
    const id = newId();
    const query = encodeQuery(id, question, edns);
    const socket = createSocket(isIPv6(server.host) ? 'udp6' : 'udp4');
    let strays = 0;
    let over = false;
    const end = (settle: () => void): void => {
      if (over) return;
      over = true;
      deadline.clear();
      signal.removeEventListener('abort', onAbort);
      socket.close();
      settle();
    };
    const fail = (error: Error): void => end(() => reject(error));
    const onAbort = (): void => fail(abortReason(signal));
    const deadline = new Deadline(clock, fail);
    socket.on('error', fail);
    socket.on('message', (packet) => {
      try {
        const reply = decodeReply(packet, id, question);
        end(() => resolve(reply));
      } catch (error) {
        strays += 1;
        if (!(error instanceof NotTheAnswer)) fail(error as Error);
        else if (strays > MAX_STRAYS)
          fail(new NotTheAnswer(`${strays} packets that are no answer, the last: ${error.message}`));
      }
    });
    if (signal.aborted) {
      onAbort();
      return;
    }
    signal.addEventListener('abort', onAbort, { once: true });
    deadline.set('answer by UDP', timeoutMs);
    // On failure Node calls back with the error, which its types do not say.
    socket.connect(server.port, server.host, (refused?: Error) => {
      if (over) return;
      if (refused) fail(refused);
      else socket.send(query, (unsent) => (unsent ? fail(unsent) : undefined));
    });
  });
}

/** One query over a TCP connection of its own (RFC 7766). Rejects as `askByUdp` does, and with `NotTheAnswer`. */
export function askByTcp({ server, question, edns, timeoutMs, clock }: Ask, signal: AbortSignal): Promise<DnsReply> {
  return new Promise((resolve, reject) => {
    const id = newId();
    const query = encodeQuery(id, question, edns);
    const socket = connect({ host: server.host, port: server.port, noDelay: true });
    const reader = new FrameReader();
    const end = (settle: () => void): void => {
      deadline.clear();
      signal.removeEventListener('abort', onAbort);
      socket.destroy();
      settle();
    };
    const fail = (error: Error): void => end(() => reject(error));
    const onAbort = (): void => fail(abortReason(signal));
    const deadline = new Deadline(clock, fail);
    // Not `once`: an error may follow another one, and without a listener it would end the process.
    socket.on('error', fail);
    socket.on('close', () => fail(new NotTheAnswer('the connection was closed without an answer')));
    socket.on('data', (chunk) => {
      const frame = reader.push(chunk);
      if (!frame) return;
      try {
        const reply = decodeReply(frame, id, question);
        end(() => resolve(reply));
      } catch (error) {
        fail(error as Error);
      }
    });
    if (signal.aborted) {
      onAbort();
      return;
    }
    signal.addEventListener('abort', onAbort, { once: true });
    deadline.set('answer by TCP', timeoutMs);
    const length = Buffer.alloc(2);
    length.writeUInt16BE(query.length);
    socket.write(Buffer.concat([length, query]));
  });
}

/** The first message of a stream: two bytes of length, then so many. Holds at most 64 KiB and one chunk. */
class FrameReader {
  #held = Buffer.alloc(0);

  push(chunk: Buffer): Buffer | undefined {
    this.#held = Buffer.concat([this.#held, chunk]);
    if (this.#held.length < 2) return undefined;
    const length = this.#held.readUInt16BE(0);
    return this.#held.length < length + 2 ? undefined : this.#held.subarray(2, length + 2);
  }
}
