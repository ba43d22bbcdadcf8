import type { FailureMeaning } from '../core/failure.ts';
import { JsonBytes } from './json-bytes.ts';
import type { LineSink } from './line-sink.ts';

/**
 * What is logged of one request. One object is filled anew for each request: `AccessLog.write` keeps nothing of it.
 * Strings are taken as they came from the wire.
 */
export interface AccessRecord {
  /** Wall-clock milliseconds at which the request began. */
  wallMs: number;
  /** undefined: the request reached no service. */
  service: string | undefined;
  /** undefined, and `target` and `host` as well: the head could not be read. */
  method: string | undefined;
  /** As received, query included. */
  target: string | undefined;
  host: string | undefined;
  status: number;
  /** Why the gateway itself answered; undefined when an instance did. */
  flag: FailureMeaning['flag'] | undefined;
  /** The instance of the last attempt. */
  instance: string | undefined;
  attempts: number;
  /** Too few instances were available, and probe verdicts were ignored. */
  panic: boolean;
  durationMs: number;
  /** Time spent waiting on instances, over all attempts. */
  upstreamMs: number;
  overheadMs: number;
  bytesIn: number;
  bytesOut: number;
  client: string;
  requestId: string;
  traceparent: string | undefined;
  userAgent: string | undefined;
}

export function emptyAccessRecord(): AccessRecord {
  return {
    wallMs: 0,
    service: undefined,
    method: '',
    target: '',
    host: undefined,
    status: 0,
    flag: undefined,
    instance: undefined,
    attempts: 0,
    panic: false,
    durationMs: 0,
    upstreamMs: 0,
    overheadMs: 0,
    bytesIn: 0,
    bytesOut: 0,
    client: '',
    requestId: '',
    traceparent: undefined,
    userAgent: undefined,
  };
}

/** Characters kept of each field; a longer one is cut and ends in `…`. */
export const TARGET_CHARS = 2048;
const FIELD_CHARS = 256;
const METHOD_CHARS = 32;
/** Room for a line in which every character has to be escaped. */
const LINE_BYTES = 6 * (TARGET_CHARS + 9 * FIELD_CHARS + METHOD_CHARS) + 2048;

/** One JSON line per request. */
export class AccessLog {
  readonly #sink: LineSink;
  readonly #json = new JsonBytes(LINE_BYTES);
  readonly #time = new SecondClock();

  constructor(sink: LineSink) {
    this.#sink = sink;
  }

  /** Never waits: a line that finds no room is dropped, and counted by the sink. */
  write(record: AccessRecord): void {
    const json = this.#json;
    json.length = 0;
    json.raw('{"time":"');
    json.raw(this.#time.text(record.wallMs));
    json.raw('"');
    this.#text(',"service":', record.service);
    this.#text(',"method":', record.method, METHOD_CHARS);
    this.#text(',"target":', record.target, TARGET_CHARS);
    this.#text(',"host":', record.host);
    this.#number(',"status":', record.status);
    this.#text(',"flag":', record.flag);
    this.#text(',"instance":', record.instance);
    this.#number(',"attempts":', record.attempts);
    json.raw(record.panic ? ',"panic":true' : ',"panic":false');
    this.#number(',"durationMs":', record.durationMs);
    this.#number(',"upstreamMs":', record.upstreamMs);
    this.#number(',"overheadMs":', record.overheadMs);
    this.#number(',"bytesIn":', record.bytesIn);
    this.#number(',"bytesOut":', record.bytesOut);
    this.#text(',"client":', record.client);
    this.#text(',"requestId":', record.requestId);
    this.#text(',"traceparent":', record.traceparent);
    this.#text(',"userAgent":', record.userAgent);
    json.raw('}\n');
    this.#sink.writeBytes(json.bytes, json.length);
  }

  #text(key: string, value: string | undefined, most = FIELD_CHARS): void {
    this.#json.raw(key);
    if (value === undefined) this.#json.raw('null');
    else this.#json.string(value, most);
  }

  #number(key: string, value: number): void {
    this.#json.raw(key);
    this.#json.number(value);
  }
}

/** Formats times of the same second with one `Date`. */
class SecondClock {
  #second = Number.NaN;
  #prefix = '';

  text(wallMs: number): string {
    const second = Math.floor(wallMs / 1000);
    if (second !== this.#second) {
      this.#second = second;
      this.#prefix = new Date(second * 1000).toISOString().slice(0, -4);
    }
    const millis = Math.floor(wallMs - second * 1000);
    return `${this.#prefix}${millis < 10 ? '00' : millis < 100 ? '0' : ''}${millis}Z`;
  }
}
