/** Why something is refused here that Node reads. */
interface Stricter {
  /** The reason of the refusal. */
  readonly name: string;
  readonly why: string;
  /** An input that shows it. */
  readonly example: string;
  /** Node reads the head and waits for a body that is too long for any example. */
  readonly endless?: true;
}

/** Refusals of what is too much for the limits that are set, however well it is formed. */
export const LIMITED: ReadonlySet<string> = new Set([
  'head-too-large',
  'too-many-fields',
  'target-too-long',
  'body-too-large',
  'too-many-informational',
]);

/** Not a refusal: what comes behind a request that said it was the last is not read. */
export const AFTER_THE_LAST = 'after-the-last';

const FIELDS = 'X: a\r\n'.repeat(101);

/** Every reason for which a request is refused here and read by Node. All of them; whatever else is refused is a bug. */
export const STRICTER_REQUESTS: readonly Stricter[] = [
  {
    name: AFTER_THE_LAST,
    why: 'Node takes Proxy-Connection for Connection, and reads on behind HTTP/1.0. RFC 9112 appendix C.2.2 warns of it.',
    example: 'GET / HTTP/1.0\r\nHost: a\r\nProxy-Connection: keep-alive\r\n\r\nGET /more HTTP/1.0\r\nHost: a\r\n\r\n',
  },
  {
    name: 'bad-method',
    why: 'Node skips any number of CR and LF before a request. RFC 9112 section 2.2 has one empty line in mind, with CRLF.',
    example: '\nGET / HTTP/1.1\r\nHost: a\r\n\r\n',
  },
  {
    name: 'bad-request-line',
    why: 'Node skips further empty lines, and reads what looks like HTTP/0.9 as if it had a version.',
    example: '\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n',
  },
  {
    name: 'bad-target',
    why: 'Node passes on fragments, bytes above 127 and %00, and any form of target with any method. RFC 9112 section 3.2 has four forms.',
    example: 'GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n',
  },
  {
    name: 'bad-version',
    why: 'Node reads HTTP/2.0 in text as if it were HTTP/1.1.',
    example: 'GET / HTTP/2.0\r\nHost: a\r\n\r\n',
  },
  {
    name: 'bad-host',
    why: 'Node only asks that there be a Host in HTTP/1.1. Routing needs exactly one, and one that can be a name (RFC 9112 section 3.2).',
    example: 'GET / HTTP/1.1\r\nHost: x@a\r\n\r\n',
  },
  {
    name: 'host-mismatch',
    why: 'Node does not compare the authority of the target with Host: one of the two would be routed by, the other believed.',
    example: 'GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n',
  },
  {
    name: 'method-not-allowed',
    why: 'TRACE shows a client what only the gateway and the instance should see, and CONNECT makes a tunnel to anywhere.',
    example: 'TRACE / HTTP/1.1\r\nHost: a\r\n\r\n',
  },
  {
    name: 'bad-length',
    why: 'Node reads leading zeros, octal elsewhere.',
    example: 'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 02\r\n\r\nhi',
  },
  {
    name: 'body-too-large',
    why: 'Node counts past 2^53, where two readers may count differently.',
    example: 'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1111111111111111\r\n\r\n',
    endless: true,
  },
  {
    name: 'bad-coding',
    why: 'Node takes codings behind which no two readers agree: empty, obfuscated, repeated, in HTTP/1.0 (RFC 9112 section 6.1).',
    example: 'GET / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
  },
  {
    name: 'unknown-coding',
    why: 'Node hands on codings that it does not undo. RFC 9112 section 6.1: 501.',
    example: 'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, br, chunked\r\n\r\n0\r\n\r\n',
  },
  {
    name: 'bad-chunk',
    why: 'Node lets chunk extensions and trailers pass that are none (RFC 9112 section 7.1.1), and more of them than 4 KiB.',
    example: 'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0;a=\r\n\r\n',
  },
  {
    name: 'bad-expect',
    why: 'Node answers 417 by itself, or reads a list with 100-continue in it. Only 100-continue is defined (RFC 9110 section 10.1.1).',
    example: 'POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue, x\r\nContent-Length: 2\r\n\r\nhi',
  },
  {
    name: 'too-many-fields',
    why: 'Node is not told of this limit here, and drops fields past its own instead of refusing.',
    example: `GET / HTTP/1.1\r\nHost: a\r\n${FIELDS}\r\n`,
  },
  {
    name: 'head-too-large',
    why: 'Node is given a larger limit, so that what it makes of large heads is seen.',
    example: `GET / HTTP/1.1\r\nHost: a\r\nX: ${'x'.repeat(33_000)}\r\n\r\n`,
  },
  {
    name: 'target-too-long',
    why: 'Node has no limit of its own for targets.',
    example: `GET /${'x'.repeat(8192)} HTTP/1.1\r\nHost: a\r\n\r\n`,
  },
];

/** The same for responses. */
export const STRICTER_RESPONSES: readonly Stricter[] = [
  {
    name: 'bad-coding',
    why: 'As with requests: what two readers frame differently poisons the connection.',
    example: 'HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
  },
  {
    name: 'unknown-coding',
    why: 'As with requests: a coding that nobody asked for (RFC 9112 section 6.1).',
    example: 'HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nok',
  },
  {
    name: 'bad-length',
    why: 'As with requests: leading zeros.',
    example: 'HTTP/1.1 200 OK\r\nContent-Length: 02\r\n\r\nok',
  },
  {
    name: 'body-too-large',
    why: 'As with requests: a length past 2^53.',
    example: 'HTTP/1.1 200 OK\r\nContent-Length: 1111111111111111\r\n\r\n',
    endless: true,
  },
  {
    name: 'bad-chunk',
    why: 'As with requests: extensions and trailers that are none, or too many of them.',
    example: 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0;a=\r\n\r\n',
  },
  {
    name: 'bad-field-value',
    why: 'Node lets controls pass in a reason phrase (RFC 9112 section 4).',
    example: 'HTTP/1.1 200 O\x01K\r\nContent-Length: 2\r\n\r\nok',
  },
  {
    name: 'bad-request-line',
    why: 'Node reads any number as a status. RFC 9110 section 15: 100 to 599.',
    example: 'HTTP/1.1 600 ?\r\nContent-Length: 2\r\n\r\nok',
  },
  {
    name: 'bad-version',
    why: 'HTTP/1.0 has no interim responses (RFC 9110 section 15.2), and what is no version is none.',
    example: 'HTTP/1.0 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n',
  },
  {
    name: 'too-many-informational',
    why: 'Node reads interim responses without end.',
    example: `${'HTTP/1.1 103 x\r\n\r\n'.repeat(17)}HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok`,
  },
  {
    name: 'too-many-fields',
    why: 'Node is not told of this limit here.',
    example: `HTTP/1.1 200 OK\r\n${FIELDS}\r\n`,
  },
  {
    name: 'head-too-large',
    why: 'Node is given a larger limit, so that what it makes of large heads is seen.',
    example: `HTTP/1.1 200 OK\r\nX: ${'x'.repeat(33_000)}\r\nContent-Length: 2\r\n\r\nok`,
  },
];
