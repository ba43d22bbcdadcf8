import { Field, FIELD_COUNT, type FieldId, identifyField } from './fields.ts';
import { REFUSALS, type Refusal } from './refusal.ts';
import { COLON, CR, equalsIgnoringCase, FIELD_VALUE, HTAB, LF, LOWER, SP, TOKEN } from './syntax.ts';
import { skipPlain, wordsOf } from './words.ts';

/** At most this many fields can be configured (`gateway.limits.headFields`). */
export const MAX_FIELDS = 1000;

export interface HeadLimits {
  readonly headBytes: number;
  readonly headFields: number;
  readonly targetBytes: number;
}

/** Result of a parse besides the end of the head, which is > 0. */
export const INCOMPLETE = 0;
export const REFUSED = -1;

/** What may stand in a field name, and 2 for an underscore. */
const UNDERSCORE = 2;
const NAME = TOKEN.map((accepted, byte) => (byte === 0x5f ? UNDERSCORE : accepted));

const CLOSE = Buffer.from('close');
const KEEP_ALIVE = Buffer.from('keep-alive');
const UPGRADE = Buffer.from('upgrade');

/**
 * A parsed head as offsets into the buffer it was read from. One object serves all connections of a thread: what is
 * needed of it must be used or copied before the next parse. RFC 9112 sections 2 to 5, strictly: nothing is repaired.
 */
export class Head {
  minorVersion = 1;
  count = 0;
  /** Field i is `buffer[nameStart[i], nameEnd[i])`, its trimmed value `[valueStart[i], valueEnd[i])`. `nameStart[count]` is the end of the last field line. */
  readonly nameStart = new Int32Array(MAX_FIELDS + 1);
  readonly nameEnd = new Int32Array(MAX_FIELDS + 1);
  readonly valueStart = new Int32Array(MAX_FIELDS + 1);
  readonly valueEnd = new Int32Array(MAX_FIELDS + 1);
  readonly ids = new Uint8Array(MAX_FIELDS + 1);
  /** 1 = named by `Connection`: for the neighbour only, not passed on. */
  readonly nominated = new Uint8Array(MAX_FIELDS + 1);
  /** Index of the first field with an id, or -1; and how often it occurs. */
  readonly first = new Int16Array(FIELD_COUNT).fill(-1);
  readonly occurrences = new Uint16Array(FIELD_COUNT);
  connectionClose = false;
  connectionKeepAlive = false;
  connectionUpgrade = false;
  refusal: Refusal | undefined;
  /** Fields whose ids are in the tables, also after a head that was refused. */
  #noted = 0;

  has(id: FieldId): boolean {
    return (this.occurrences[id] as number) > 0;
  }

  /** Text of the first field with this id. */
  text(buffer: Buffer, id: FieldId): string | undefined {
    const at = this.first[id] as number;
    return at < 0 ? undefined : buffer.toString('latin1', this.valueStart[at], this.valueEnd[at]);
  }

  /** Whether another message may follow on the connection, RFC 9112 section 9.3. Obligation: after `readConnection`. */
  protected get persists(): boolean {
    return !this.connectionClose && (this.minorVersion === 1 || this.connectionKeepAlive);
  }

  protected refuse(refusal: Refusal): typeof REFUSED {
    this.refusal = refusal;
    return REFUSED;
  }

  /**
   * What follows the first line, which ends at `from`; where that is INCOMPLETE or REFUSED, so is the head. Returns the
   * end of the head, which begins at `start`, INCOMPLETE or REFUSED.
   */
  protected parseRest(buffer: Buffer, start: number, from: number, end: number, limits: HeadLimits): number {
    const parsed = from > 0 ? this.#parseFields(buffer, from, end, Math.min(limits.headFields, MAX_FIELDS)) : from;
    if (parsed === REFUSED) return REFUSED;
    const bytes = (parsed === INCOMPLETE ? end : parsed) - start;
    return bytes > limits.headBytes ? this.refuse(REFUSALS.headTooLarge) : parsed;
  }

  /** Field lines from `from` to the empty line. Returns the end of the head, INCOMPLETE or REFUSED. */
  #parseFields(buffer: Buffer, from: number, end: number, maxFields: number): number {
    this.#forget();
    const words = wordsOf(buffer);
    const { nameStart, nameEnd, valueStart, valueEnd, ids, nominated, occurrences } = this;
    let at = from;
    let count = 0;
    while (true) {
      if (at >= end) return INCOMPLETE;
      const first = buffer[at] as number;
      if (first === CR) {
        if (at + 1 >= end) return INCOMPLETE;
        if (buffer[at + 1] !== LF) return this.refuse(REFUSALS.bareCr);
        nameStart[count] = at;
        this.count = count;
        return at + 2;
      }
      if (count >= maxFields) return this.refuse(REFUSALS.tooManyFields);
      const name = at;
      let kinds = 0;
      let kind: number;
      let byte = first;
      while ((kind = NAME[byte] as number) !== 0) {
        kinds |= kind;
        if (++at >= end) return INCOMPLETE;
        byte = buffer[at] as number;
      }
      if (byte !== COLON || at === name) return this.refuse(nameRefusal(byte, at === name, count));
      const colon = at;
      at++;
      while (at < end && ((byte = buffer[at] as number) === SP || byte === HTAB)) at++;
      const value = at;
      at = skipPlain(words, at, end);
      while (true) {
        if (at >= end) return INCOMPLETE;
        byte = buffer[at] as number;
        if (FIELD_VALUE[byte] === 0) break;
        at++;
      }
      if (byte !== CR) return this.refuse(byte === LF ? REFUSALS.bareLf : REFUSALS.badFieldValue);
      if (at + 1 >= end) return INCOMPLETE;
      if (buffer[at + 1] !== LF) return this.refuse(REFUSALS.bareCr);
      let last = at;
      while (last > value && ((byte = buffer[last - 1] as number) === SP || byte === HTAB)) last--;
      at += 2;

      const id = (kinds & UNDERSCORE) !== 0 ? Field.underscored : identifyField(words, name, colon);
      nameStart[count] = name;
      nameEnd[count] = colon;
      valueStart[count] = value;
      valueEnd[count] = last;
      ids[count] = id;
      nominated[count] = 0;
      if (occurrences[id] === 0) this.first[id] = count;
      (occurrences[id] as number)++;
      count++;
      this.#noted = count;
    }
  }

  /** Undoes the last parse: only what it set, which is cheaper than clearing the tables. */
  #forget(): void {
    for (let i = 0; i < this.#noted; i++) {
      const id = this.ids[i] as number;
      this.first[id] = -1;
      this.occurrences[id] = 0;
    }
    this.#noted = 0;
    this.count = 0;
  }

  /** Reads every `Connection` field: its options, and which fields it names (RFC 9110 section 7.6.1). */
  protected readConnection(buffer: Buffer): void {
    this.connectionClose = false;
    this.connectionKeepAlive = false;
    this.connectionUpgrade = false;
    if (this.occurrences[Field.connection] === 0) return;
    for (let i = this.first[Field.connection] as number; i < this.count; i++) {
      if (this.ids[i] !== Field.connection) continue;
      const end = this.valueEnd[i] as number;
      let at = this.valueStart[i] as number;
      while (at < end) {
        let stop = at;
        while (stop < end && buffer[stop] !== 0x2c) stop++;
        this.#readOption(buffer, at, stop);
        at = stop + 1;
      }
    }
  }

  #readOption(buffer: Buffer, from: number, to: number): void {
    let start = from;
    let end = to;
    while (start < end && (buffer[start] === SP || buffer[start] === HTAB)) start++;
    while (end > start && (buffer[end - 1] === SP || buffer[end - 1] === HTAB)) end--;
    if (end === start) return;
    if (equalsIgnoringCase(buffer, start, end, CLOSE)) this.connectionClose = true;
    else if (equalsIgnoringCase(buffer, start, end, KEEP_ALIVE)) this.connectionKeepAlive = true;
    else if (equalsIgnoringCase(buffer, start, end, UPGRADE)) this.connectionUpgrade = true;
    else this.#nominate(buffer, start, end);
  }

  #nominate(buffer: Buffer, start: number, end: number): void {
    for (let i = 0; i < this.count; i++) {
      if (
        !PROTECTED.has(this.ids[i] as FieldId) &&
        sameName(buffer, this.nameStart[i] as number, this.nameEnd[i] as number, start, end)
      ) {
        this.nominated[i] = 1;
      }
    }
  }
}

/** A client may not have these taken out by naming them in `Connection`. */
const PROTECTED: ReadonlySet<FieldId> = new Set<FieldId>([
  Field.host,
  Field.contentLength,
  Field.transferEncoding,
  Field.forwarded,
  Field.xForwardedFor,
  Field.xForwardedProto,
  Field.xForwardedHost,
  Field.xForwardedPort,
  Field.authorization,
  Field.cookie,
]);

function sameName(buffer: Buffer, start: number, end: number, otherStart: number, otherEnd: number): boolean {
  if (end - start !== otherEnd - otherStart) return false;
  for (let i = 0; i < end - start; i++) {
    if (LOWER[buffer[start + i] as number] !== LOWER[buffer[otherStart + i] as number]) return false;
  }
  return true;
}

function nameRefusal(byte: number, empty: boolean, count: number): Refusal {
  if (byte === LF) return REFUSALS.bareLf;
  if (empty && (byte === SP || byte === HTAB) && count > 0) return REFUSALS.folded;
  return REFUSALS.badFieldName;
}
