import {
  decode,
  encode,
  RECURSION_DESIRED,
  type Answer as PacketAnswer,
  type OptAnswer,
  type Packet,
} from 'dns-packet';
import { messageOf } from '../network-fault.ts';

export type QueryType = 'A' | 'AAAA' | 'SRV';

export interface Question {
  /** Without the final dot. */
  readonly name: string;
  readonly type: QueryType;
}

export interface SrvTarget {
  readonly priority: number;
  readonly weight: number;
  readonly port: number;
  /** Without the final dot; `.` = the service is decidedly not there. */
  readonly target: string;
}

/** The records that matter here, names in lower case. */
export type DnsRecord = { readonly name: string; readonly ttlS: number } & (
  | { readonly type: 'A' | 'AAAA'; readonly address: string }
  | { readonly type: 'CNAME'; readonly target: string }
  | ({ readonly type: 'SRV' } & SrvTarget)
);

export interface DnsReply {
  /** 0 NOERROR, 2 SERVFAIL, 3 NXDOMAIN, 5 REFUSED… */
  readonly rcode: number;
  /** Something was left out for want of room. */
  readonly truncated: boolean;
  readonly answers: readonly DnsRecord[];
  /** What the server sends along unasked: addresses of targets. */
  readonly additionals: readonly DnsRecord[];
  /** How long an empty answer may be kept (RFC 2308 section 5); undefined where no SOA says. */
  readonly negativeTtlS: number | undefined;
  /** Not empty, but "ask them" (RFC 2308 section 2.2): name servers in place of the SOA that an empty answer has. */
  readonly referral: boolean;
}

/** A packet that is no answer to this question: forged, late, or broken. */
export class NotTheAnswer extends Error {
  override readonly name = 'NotTheAnswer';
}

/** Above this an answer over UDP may be cut into fragments, which get lost and can be forged (DNS flag day 2020). */
const UDP_PAYLOAD_BYTES = 1232;
const HEADER_BYTES = 12;
/** More than fit into the largest message, if they are any use. */
const MAX_RECORDS = 8192;

/** `edns`: say that larger answers than 512 bytes are taken (RFC 6891). Some old servers answer FORMERR to it. */
export function encodeQuery(id: number, { name, type }: Question, edns: boolean): Buffer {
  return encode({
    type: 'query',
    id,
    flags: RECURSION_DESIRED,
    questions: [{ name, type, class: 'IN' }],
    ...(edns ? { additionals: [OPT] } : {}),
  });
}

const OPT: OptAnswer = {
  type: 'OPT',
  name: '.',
  udpPayloadSize: UDP_PAYLOAD_BYTES,
  extendedRcode: 0,
  ednsVersion: 0,
  flags: 0,
  flag_do: false,
  options: [],
};

/** Throws `NotTheAnswer` unless the packet answers exactly this query. */
export function decodeReply(packet: Buffer, id: number, question: Question): DnsReply {
  if (packet.length < HEADER_BYTES) throw new NotTheAnswer(`a packet of ${packet.length} bytes`);
  const [foundId, flags] = [packet.readUInt16BE(0), packet.readUInt16BE(2)];
  if (foundId !== id) throw new NotTheAnswer('another id');
  // QR set, OPCODE 0.
  if ((flags & 0xf800) !== 0x8000) throw new NotTheAnswer('no response to a query');
  const rcode = flags & 0x000f;
  // Counted before the decoder makes room for them.
  const records = packet.readUInt16BE(6) + packet.readUInt16BE(8) + packet.readUInt16BE(10);
  if (packet.readUInt16BE(4) > 1 || records > MAX_RECORDS) throw new NotTheAnswer('more records than a message holds');
  const truncated = (flags & 0x0200) !== 0;
  // What is left of a truncated answer may end in the middle of a record: nothing in it is used.
  const decoded = decodeOrThrow(truncated ? withoutRecords(packet) : packet);
  checkQuestion(decoded, question, rcode);
  return {
    rcode,
    truncated,
    answers: recordsOf(decoded.answers),
    additionals: recordsOf(decoded.additionals),
    negativeTtlS: negativeTtlOf(decoded.authorities),
    referral: rcode === 0 && isReferral(decoded),
  };
}

function decodeOrThrow(packet: Buffer): Packet {
  try {
    return decode(packet);
  } catch (error) {
    throw new NotTheAnswer(`a malformed packet: ${messageOf(error)}`, { cause: error });
  }
}

function withoutRecords(packet: Buffer): Buffer {
  const copy = Buffer.from(packet);
  copy.fill(0, 6, HEADER_BYTES);
  return copy;
}

function checkQuestion({ questions = [] }: Packet, question: Question, rcode: number): void {
  const [asked] = questions;
  // A server that could not read a query may not repeat it (RFC 1035 section 4.1.1); the id has to do then.
  if (!asked && rcode !== 0 && rcode !== 3) return;
  if (!asked || canonicalName(asked.name) !== canonicalName(question.name) || asked.type !== question.type) {
    throw new NotTheAnswer('an answer to another question');
  }
}

/** DNS names are compared without regard to case, in ASCII alone (RFC 4343). */
export function canonicalName(name: string): string {
  const bare = name.length > 1 && name.endsWith('.') ? name.slice(0, -1) : name;
  return bare.replaceAll(/[A-Z]/g, (letter) => letter.toLowerCase());
}

/** Whether it can be asked for: what a hostile record names may be any bytes. */
export function isQueryable(name: string): boolean {
  return name.length <= 253 && /^[!-~]+$/.test(name) && name.split('.').every((label) => /^.{1,63}$/.test(label));
}

function recordsOf(answers: readonly PacketAnswer[] | undefined): readonly DnsRecord[] {
  return (answers ?? []).flatMap((answer) => recordOf(answer) ?? []);
}

function recordOf(answer: PacketAnswer): DnsRecord | undefined {
  if (answer.type === 'OPT' || ('class' in answer && answer.class !== 'IN')) return undefined;
  const named = { name: canonicalName(answer.name), ttlS: 'ttl' in answer ? readTtl(answer.ttl) : 0 };
  if (answer.type === 'A' || answer.type === 'AAAA') return { ...named, type: answer.type, address: answer.data };
  if (answer.type === 'CNAME') return { ...named, type: 'CNAME', target: canonicalName(answer.data) };
  if (answer.type !== 'SRV') return undefined;
  const { priority = 0, weight = 0, port, target } = answer.data;
  return { ...named, type: 'SRV', priority, weight, port, target: canonicalName(target) };
}

/** A value with the highest bit set means zero (RFC 2181 section 8). */
function readTtl(ttl: number | undefined): number {
  return ttl === undefined || ttl > 0x7fff_ffff ? 0 : ttl;
}

function negativeTtlOf(authorities: readonly PacketAnswer[] | undefined): number | undefined {
  for (const each of authorities ?? []) {
    if (each.type !== 'SOA') continue;
    return Math.min(readTtl(each.ttl), readTtl(each.data.minimum));
  }
  return undefined;
}

function isReferral({ answers = [], authorities = [] }: Packet): boolean {
  if (answers.length > 0) return false;
  return authorities.some((each) => each.type === 'NS') && !authorities.some((each) => each.type === 'SOA');
}
