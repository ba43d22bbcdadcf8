import { METHODS } from 'node:http';
import type { ClientView } from '../http1/client-view.ts';
import type { SeenRequest } from '../http1/server-view.ts';

interface Difference<T> {
  readonly name: string;
  readonly why: string;
  /** An input that shows it. */
  readonly example: string;
  readonly applies: (disagreement: T) => boolean;
}

export interface RequestDisagreement {
  /** The requests as they are read here, up to the one in question. */
  readonly requests: readonly Pick<SeenRequest, 'method' | 'fields' | 'framing'>[];
  /** Node's code, where it gave one. */
  readonly error: string | undefined;
  readonly text: string;
}

export interface ResponseDisagreement {
  readonly response: ClientView;
  readonly error: string | undefined;
  readonly text: string;
}

const KNOWN = new Set(METHODS);

const has = (fields: SeenRequest['fields'], name: string, value: RegExp): boolean =>
  fields.some(([each, text]) => each.toLowerCase() === name && value.test(text));

const upgrades = ({ fields }: Pick<SeenRequest, 'fields'>): boolean =>
  has(fields, 'connection', /upgrade/i) && has(fields, 'upgrade', /./);

/** Where more of a request is accepted here than by Node, and why that is right. All of it; whatever else differs is a bug. */
export const REQUEST_DIFFERENCES: readonly Difference<RequestDisagreement>[] = [
  {
    name: 'unlisted-method',
    why: 'Node knows a fixed list of methods. RFC 9110 section 9.1 lets any token be one, and it frames nothing.',
    example: 'BREW /pot HTTP/1.1\r\nHost: web.localhost\r\n\r\n',
    applies: ({ requests, error }) => error === 'HPE_INVALID_METHOD' && !KNOWN.has(requests.at(-1)?.method ?? ''),
  },
  {
    name: 'behind-upgrade',
    why: 'Behind a request with Upgrade, Node reads on only once it has answered it, and here it never answers. So does the gateway: it holds what was sent ahead until the answer says what it is.',
    example: 'GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n',
    applies: ({ requests, error }) => error === undefined && requests.slice(0, -1).some(upgrades),
  },
  {
    name: 'framing-in-trailers',
    why: 'Node reads framing fields in trailers, and stumbles over them. Here trailers are dropped unread: they can frame nothing, neither here nor where they do not arrive.',
    example: 'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 5\r\n\r\n',
    applies: ({ requests, error, text }) =>
      requests.at(-1)?.framing === 2 &&
      // Of a request with Upgrade it keeps the error to itself.
      (error === undefined ? requests.slice(-1).some(upgrades) : trailerErrors.has(error)) &&
      /\r\n0*(?:;[^\r]*)?\r\n(?:[^\r]+\r\n)*(?:content-length|transfer-encoding)[^\r]*:/i.test(text),
  },
];

const trailerErrors = new Set([
  'HPE_INVALID_CONTENT_LENGTH',
  'HPE_UNEXPECTED_CONTENT_LENGTH',
  'HPE_INVALID_TRANSFER_ENCODING',
]);

/** The same for responses. */
export const RESPONSE_DIFFERENCES: readonly Difference<ResponseDisagreement>[] = [
  {
    name: 'framing-in-trailers',
    why: 'As with requests: what trailers say of framing is dropped with them.',
    example: 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 5\r\n\r\n',
    applies: ({ error }) => trailerErrors.has(error ?? ''),
  },
  {
    name: 'interim-close',
    why: 'Node takes Connection: close in an interim response for the end of all of them. It can only mean the connection after the final one, which says it again or is not believed.',
    example: 'HTTP/1.1 103 x\r\nConnection: close\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n',
    applies: ({ response, error }) => response.informational.length > 0 && error === 'HPE_CLOSED_CONNECTION',
  },
];

/** The name of the difference that this is, if it is one of them. */
export function explained<T>(differences: readonly Difference<T>[], disagreement: T): string | undefined {
  return differences.find((difference) => difference.applies(disagreement))?.name;
}
