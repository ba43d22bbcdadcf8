import type { Random } from '../../src/core/random.ts';
import { receive } from '../http1/client-view.ts';
import { latin1, type SeenRequest, serve } from '../http1/server-view.ts';
import { readChunked, readRequests } from '../http1/strict-reader.ts';
import { explained, REQUEST_DIFFERENCES, RESPONSE_DIFFERENCES } from './explained.ts';
import { type NodeMessage, nodeRequests, nodeResponse } from './node-view.ts';
import { pieces } from './random.ts';

/** Which law an input breaks, and how; undefined where it keeps them all. */
export type Breach = string | undefined;

export const show = (value: unknown): string => JSON.stringify(value).slice(0, 600);

function contentOf(request: SeenRequest): string {
  return request.framing === 2 && request.complete ? readChunked(request.body, 0).content : request.body;
}

const sameFields = (ours: SeenRequest['fields'], theirs: NodeMessage['fields']): boolean => show(ours) === show(theirs);

function compareRequest(ours: SeenRequest, theirs: NodeMessage): Breach {
  const line = `${ours.method} ${ours.target}`;
  if (line !== theirs.line) return `another request line: ${show(line)}, ${show(theirs.line)}`;
  if (theirs.version !== `1.${ours.minorVersion}`) return `another version: ${theirs.version}`;
  if (!sameFields(ours.fields, theirs.fields)) return `other fields: ${show(ours.fields)}, ${show(theirs.fields)}`;
  if (!ours.complete) return undefined;
  if (!theirs.complete) return `complete here, not there: ${show(theirs)}`;
  if (contentOf(ours) !== theirs.body) return `another body: ${show(contentOf(ours))}, ${show(theirs.body)}`;
  return undefined;
}

/** Whatever is accepted here, Node accepts, and reads the same. */
async function acceptLess(bytes: Buffer, requests: readonly SeenRequest[], patience: number): Promise<Breach> {
  const { messages, error } = await nodeRequests(bytes, patience);
  for (const [i, ours] of requests.entries()) {
    const theirs = messages[i];
    const breach = theirs ? compareRequest(ours, theirs) : 'accepted here, refused there';
    if (breach === undefined) continue;
    if (explained(REQUEST_DIFFERENCES, { requests: requests.slice(0, i + 1), error, text: bytes.toString('latin1') }))
      return undefined;
    return `request ${i}: ${breach} (${error})`;
  }
  return undefined;
}

/** A head that is not over is looked at again when a line is: so that both deliveries come to an end. */
const END = latin1('\r\n\r\n');

/** Pieces make no difference. */
function sameInPieces(random: Random, bytes: Buffer): Breach {
  const told = (view: ReturnType<typeof serve>): string =>
    show([view.refusals, view.requests.map((each) => ({ ...each, body: each.complete ? contentOf(each) : '' }))]);
  const cut = pieces(random, bytes, 6);
  const parts = told(serve([...cut, END]));
  const whole = told(serve([Buffer.concat([bytes, END])]));
  return parts === whole
    ? undefined
    : `another result in pieces of ${show(cut.map(({ length }) => length))}: ${parts}, whole ${whole}`;
}

/** The laws of requests at the parser: Node's, the reference's, and that of pieces. */
export async function requestBreach(random: Random, text: string): Promise<Breach> {
  const bytes = latin1(text);
  const view = serve([bytes]);
  const breach = bytes.length < 32_768 ? sameInPieces(random, bytes) : undefined;
  if (breach !== undefined || view.requests.length === 0) return breach;
  const reference = readRequests(text).messages;
  for (const [i, request] of view.requests.entries()) {
    const same = reference[i];
    if (!same) return `request ${i} accepted here, refused by the reference`;
    if (request.complete && (!same.complete || same.content !== contentOf(request)))
      return `request ${i}: another body to the reference`;
    if (show(request.fields) !== show(same.fields)) return `request ${i}: other fields to the reference`;
  }
  const first = await acceptLess(bytes, view.requests, 2);
  // Node reads on in later turns: a second, patient look.
  return first === undefined ? undefined : acceptLess(bytes, view.requests, 40);
}

/** Whatever response is accepted here, Node accepts, and reads the same. */
export async function responseBreach(random: Random, text: string, method: string, closed: boolean): Promise<Breach> {
  const bytes = latin1(text);
  const ours = receive([bytes], method, closed);
  const parts = receive(pieces(random, bytes, 6), method, closed);
  if (
    bytes.length < 32_768 &&
    show([ours.status, ours.complete, ours.complete && ours.content]) !==
      show([parts.status, parts.complete, parts.complete && parts.content])
  )
    return `another result in pieces: ${show(parts)}, whole ${show(ours)}`;
  if (ours.status === 0) return undefined;
  let breach: Breach;
  for (const patience of [2, 40]) {
    const theirs = await nodeResponse(bytes, method, closed, patience);
    const there = theirs.messages[0];
    breach = undefined;
    if (!there) breach = `accepted here, refused there (${theirs.error})`;
    else if (there.line !== String(ours.status)) breach = `another status: ${there.line}`;
    else if (!sameFields(ours.fields, there.fields))
      breach = `other fields: ${show(ours.fields)}, ${show(there.fields)}`;
    else if (ours.complete && ours.status !== 101 && !there.complete)
      breach = `complete here, not there (${theirs.error})`;
    else if (ours.complete && ours.content !== there.body)
      breach = `another body: ${show(ours.content)}, ${show(there.body)}`;
    if (breach === undefined || explained(RESPONSE_DIFFERENCES, { response: ours, error: theirs.error, text }))
      return undefined;
  }
  return breach;
}
