import type { Random } from '../../src/core/random.ts';
import { type ClientView, receive } from '../http1/client-view.ts';
import { latin1, type SeenRequest, serve, type ServerView } from '../http1/server-view.ts';
import { readChunked, readRequests, readResponses } from '../http1/strict-reader.ts';
import { explained, REQUEST_DIFFERENCES, RESPONSE_DIFFERENCES } from './explained.ts';
import { type NodeMessage, nodeRequests, nodeResponse, type NodeView } from './node-view.ts';
import { pieces } from './random.ts';
import { AFTER_THE_LAST, LIMITED, STRICTER_REQUESTS, STRICTER_RESPONSES } from './stricter.ts';

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

/** Told the name of each known difference that was met. */
export type Noted = (difference: string) => void;

/** Whatever is accepted here, Node accepts, and reads the same. */
function acceptLess(view: ServerView, node: NodeView, text: string, noted: Noted): Breach {
  for (const [i, ours] of view.requests.entries()) {
    const theirs = node.messages[i];
    const breach = theirs ? compareRequest(ours, theirs) : 'accepted here, refused there';
    if (breach === undefined) continue;
    const requests = view.requests.slice(0, i + 1);
    const known = explained(REQUEST_DIFFERENCES, { requests, error: node.error, text });
    if (known === undefined) return `request ${i}: ${breach} (${node.error})`;
    noted(known);
    return undefined;
  }
  return undefined;
}

/** Where less is accepted than by Node, it is so for a reason that was thought of. */
function forAReason(view: ServerView, node: NodeView, noted: Noted): Breach {
  const whole = view.requests.filter(({ complete }) => complete).length;
  const inHead = whole === view.requests.length;
  const readThere = inHead ? node.messages.length > whole : (node.messages[whole]?.complete ?? false);
  if (!readThere) return undefined;
  const over = inHead && view.requests.at(-1)?.keepAlive === false;
  const reason = view.refusals[0] ?? (over ? AFTER_THE_LAST : 'not refused');
  if (!STRICTER_REQUESTS.some(({ name }) => name === reason)) return `read by Node, and not here: ${reason}`;
  noted(reason);
  return undefined;
}

/** What the reference reads is read here, as far as its size allows, and nothing else. */
function asTheReference(view: ServerView, text: string): Breach {
  const reference = readRequests(text).messages;
  for (const [i, request] of view.requests.entries()) {
    const same = reference[i];
    if (!same) return `request ${i} accepted here, refused by the reference`;
    if (request.complete && (!same.complete || same.content !== contentOf(request)))
      return `request ${i}: another body to the reference`;
    if (show(request.fields) !== show(same.fields)) return `request ${i}: other fields to the reference`;
  }
  const reason = view.refusals[0];
  if (reason === undefined || LIMITED.has(reason)) return undefined;
  const whole = view.requests.filter(({ complete }) => complete).length;
  const refused = reference[whole];
  const readThere = whole === view.requests.length ? refused !== undefined : refused?.complete;
  return readThere ? `request ${whole} refused here as ${reason}, and read by the reference` : undefined;
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
export async function requestBreach(random: Random, text: string, noted: Noted = () => undefined): Promise<Breach> {
  const bytes = latin1(text);
  const view = serve([bytes]);
  const breach = (bytes.length < 32_768 ? sameInPieces(random, bytes) : undefined) ?? asTheReference(view, text);
  if (breach !== undefined) return breach;
  const node = await nodeRequests(bytes, 2);
  if (acceptLess(view, node, text, noted) === undefined) return forAReason(view, node, noted);
  // Node reads on in later turns: a second, patient look.
  const patient = await nodeRequests(bytes, 40);
  return acceptLess(view, patient, text, noted) ?? forAReason(view, patient, noted);
}

function compareResponse(ours: ClientView, node: NodeView): Breach {
  const theirs = node.messages[0];
  if (!theirs) return `accepted here, refused there (${node.error})`;
  if (theirs.line !== String(ours.status)) return `another status: ${theirs.line}`;
  if (!sameFields(ours.fields, theirs.fields)) return `other fields: ${show(ours.fields)}, ${show(theirs.fields)}`;
  if (!ours.complete) return undefined;
  if (ours.status !== 101 && !theirs.complete) return `complete here, not there (${node.error})`;
  if (ours.content !== theirs.body) return `another body: ${show(ours.content)}, ${show(theirs.body)}`;
  return undefined;
}

function refusedForAReason(ours: ClientView, node: NodeView, noted: Noted): Breach {
  const readThere = ours.status === 0 ? node.messages.length > 0 : (node.messages[0]?.complete ?? false);
  if (ours.complete || ours.status === 101 || !readThere) return undefined;
  const reason = (ours.failure ?? 'not refused').replace(/^protocol: /, '');
  if (!STRICTER_RESPONSES.some(({ name }) => name === reason)) return `read by Node, and not here: ${reason}`;
  noted(reason);
  return undefined;
}

function sameResponseInPieces(random: Random, bytes: Buffer, method: string, closed: boolean): Breach {
  const told = ({ status, complete, content, failure }: ClientView): string =>
    show([status, complete, complete ? content : failure]);
  // A head that is not over is looked at again when a line is.
  const ending = closed ? [] : [END];
  const parts = told(receive([...pieces(random, bytes, 6), ...ending], method, closed));
  const whole = told(receive([Buffer.concat([bytes, ...ending])], method, closed));
  return parts === whole ? undefined : `another result in pieces: ${parts}, whole ${whole}`;
}

/** As requests: what the reference reads is read here, as far as its size allows. */
function responseAsTheReference(ours: ClientView, text: string, method: string, closed: boolean): Breach {
  const final = readResponses(text, [method], closed).messages.find(({ line }) => !/^HTTP\/1\.[01] 1(?!01)/.test(line));
  if (ours.status > 0 && !final) return 'accepted here, refused by the reference';
  if (final && ours.failure?.startsWith('protocol: ')) {
    const reason = ours.failure.slice(10);
    if (!LIMITED.has(reason) && (ours.status === 0 || final.complete))
      return `refused here as ${reason}, and read by the reference`;
  }
  if (ours.status > 0 && final && show(ours.fields) !== show(final.fields)) return 'other fields to the reference';
  if (!ours.complete || ours.status === 101 || !final) return undefined;
  return final.complete && final.content === ours.content ? undefined : 'another body to the reference';
}

/** The laws of responses at the parser, `closed`: the connection ends behind it. */
export async function responseBreach(
  random: Random,
  text: string,
  method: string,
  closed: boolean,
  noted: Noted = () => undefined,
): Promise<Breach> {
  const bytes = latin1(text);
  const ours = receive([bytes], method, closed);
  let breach =
    (bytes.length < 32_768 ? sameResponseInPieces(random, bytes, method, closed) : undefined) ??
    responseAsTheReference(ours, text, method, closed);
  if (breach !== undefined) return breach;
  for (const patience of [2, 40]) {
    const node = await nodeResponse(bytes, method, closed, patience);
    breach = ours.status === 0 ? undefined : compareResponse(ours, node);
    if (breach === undefined) return refusedForAReason(ours, node, noted);
    const known = explained(RESPONSE_DIFFERENCES, { response: ours, error: node.error, text });
    if (known === undefined) continue;
    noted(known);
    return undefined;
  }
  return breach;
}
