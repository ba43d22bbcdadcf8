import { request } from 'node:http';

export interface Reply {
  /** 0 = no reply: refused, broken or too slow. */
  readonly status: number;
  readonly body: string;
}

const TIMEOUT_MS = 2000;

/** One GET on a connection of its own; never rejects. For waiting until something is up, and for looking at what it does. */
export function getOnce(port: number, path: string, host = 'bench.localhost', timeoutMs = TIMEOUT_MS): Promise<Reply> {
  return new Promise((resolve) => {
    const nothing: Reply = { status: 0, body: '' };
    const call = request({ port, path, host: '127.0.0.1', agent: false, headers: { host }, timeout: timeoutMs });
    call.on('response', (response) => {
      let body = '';
      response.setEncoding('latin1').on('data', (text: string) => (body += text));
      response.on('end', () => resolve({ status: response.statusCode ?? 0, body }));
      response.on('error', () => resolve(nothing));
    });
    call.on('timeout', () => call.destroy());
    call.on('error', () => resolve(nothing));
    call.on('close', () => resolve(nothing));
    call.end();
  });
}
