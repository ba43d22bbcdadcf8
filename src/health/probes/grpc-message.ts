/** `grpc.health.v1.HealthCheckResponse.ServingStatus`. */
const SERVING_STATUSES = ['UNKNOWN', 'SERVING', 'NOT_SERVING', 'SERVICE_UNKNOWN'] as const;
export type ServingStatus = (typeof SERVING_STATUSES)[number];

const PREFIX_BYTES = 5;

/** `HealthCheckRequest { string service = 1 }` in the length-prefixed framing of gRPC over HTTP/2, uncompressed. */
export function encodeCheckRequest(service: string): Buffer {
  const name = Buffer.from(service, 'utf8');
  const message = name.length === 0 ? name : Buffer.concat([Buffer.from([0x0a, ...varint(name.length)]), name]);
  const prefix = Buffer.alloc(PREFIX_BYTES);
  prefix.writeUInt32BE(message.length, 1);
  return Buffer.concat([prefix, message]);
}

/** `HealthCheckResponse { ServingStatus status = 1 }`; undefined where the bytes are not exactly one such message. */
export function decodeCheckResponse(body: Buffer): ServingStatus | undefined {
  // The first byte says whether it is compressed, which we have not offered.
  if (body.length < PREFIX_BYTES || body[0] !== 0 || body.readUInt32BE(1) !== body.length - PREFIX_BYTES)
    return undefined;
  let status: number | undefined = 0;
  let at = PREFIX_BYTES;
  while (at < body.length) {
    const tag = readVarint(body, at);
    if (tag === undefined) return undefined;
    const end = endOfField(body, tag.next, tag.value & 7);
    if (end === undefined) return undefined;
    if (tag.value >> 3 === 1) {
      if ((tag.value & 7) !== 0) return undefined;
      status = readVarint(body, tag.next)?.value;
    }
    at = end;
  }
  return status === undefined ? undefined : SERVING_STATUSES[status];
}

/** Unknown fields are skipped, as protobuf wants it. */
function endOfField(body: Buffer, at: number, wireType: number): number | undefined {
  let end: number | undefined;
  if (wireType === 0) end = readVarint(body, at)?.next;
  else if (wireType === 1) end = at + 8;
  else if (wireType === 5) end = at + 4;
  else if (wireType === 2) {
    const length = readVarint(body, at);
    if (length !== undefined) end = length.next + length.value;
  }
  return end !== undefined && end <= body.length ? end : undefined;
}

/** Of up to 28 bits: more than any tag, length or enum in this message needs. */
function readVarint(body: Buffer, start: number): { readonly value: number; readonly next: number } | undefined {
  let value = 0;
  for (let index = 0; index < 4; index++) {
    const byte = body[start + index];
    if (byte === undefined) return undefined;
    value |= (byte & 0x7f) << (7 * index);
    if (byte < 0x80) return { value, next: start + index + 1 };
  }
  return undefined;
}

function varint(value: number): number[] {
  const bytes: number[] = [];
  let rest = value;
  while (rest >= 0x80) {
    bytes.push((rest & 0x7f) | 0x80);
    rest >>>= 7;
  }
  return [...bytes, rest];
}
