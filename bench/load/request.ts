/** The one request a generator sends over and over. */
export interface LoadRequest {
  readonly port: number;
  readonly method: 'GET' | 'POST';
  readonly path: string;
  /** Value of the Host field: what the gateway routes by. */
  readonly host: string;
  /** 0 = no body. */
  readonly bodyBytes: number;
  /** Ask for the connection to be closed after each reply. */
  readonly close: boolean;
}

export function encodeRequest(request: LoadRequest): Buffer {
  const lines = [`${request.method} ${request.path} HTTP/1.1`, `Host: ${request.host}`];
  if (request.close) lines.push('Connection: close');
  if (request.bodyBytes > 0) lines.push(`Content-Length: ${request.bodyBytes}`);
  return Buffer.from(`${lines.join('\r\n')}\r\n\r\n${'x'.repeat(request.bodyBytes)}`, 'latin1');
}

/** A generator is a process of its own: it takes its options as one JSON argument and prints its result as JSON. */
export function optionsFromArgv(): unknown {
  const text = process.argv[2];
  if (text === undefined) throw new Error('options are expected as one JSON argument; npm run bench passes them');
  return JSON.parse(text);
}
