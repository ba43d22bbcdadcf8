/**
 * An instance that answers in every way, and breaks off in several: `node test/servers/mixed-origin.ts`. Listens on two
 * ports and prints `listening PORT PORT`. Every answer carries the number of its request in `x-number`.
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

const MIB = Buffer.alloc(1_048_576, 'x');
const SMALL = Buffer.alloc(200, 'y');

function answer(request: IncomingMessage, response: ServerResponse): void {
  const [, kind = '', number = ''] = (request.url ?? '').split('/');
  response.setHeader('x-number', number);
  switch (kind) {
    case 'mib':
      response.setHeader('content-length', MIB.length);
      response.end(MIB);
      break;
    case 'chunks':
      for (let i = 0; i < 4; i++) response.write(SMALL);
      response.end();
      break;
    case 'slow':
      setTimeout(() => response.end(SMALL), Number(number) % 20);
      break;
    case 'early':
      // Before the body: the rest of it is nobody's any more.
      response.setHeader('content-length', SMALL.length);
      response.end(SMALL);
      break;
    case 'cut-before':
      request.socket.destroy();
      break;
    case 'cut-within':
      response.setHeader('content-length', MIB.length);
      response.write(MIB.subarray(0, (Number(number) * 7919) % 200_000), () => {
        if (Number(number) % 2 === 0) request.socket.resetAndDestroy();
        else request.socket.destroy();
      });
      break;
    default:
      response.setHeader('content-length', SMALL.length);
      if (request.method === 'GET') {
        response.end(SMALL);
        break;
      }
      {
        let received = 0;
        request.on('data', (bytes: Buffer) => (received += bytes.length));
        request.on('end', () => response.setHeader('x-received', received).end(SMALL));
      }
  }
}

function serve(): Promise<number> {
  const server = createServer(answer);
  // The gateway closes a second before that: what it keeps for the next request is soon gone.
  server.keepAliveTimeout = 2000;
  server.on('upgrade', (_, socket) => {
    socket.on('error', () => undefined);
    socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n');
    socket.pipe(socket);
  });
  return new Promise((resolve) => {
    // On every address of loopback: one process stands for many instances.
    server.listen(0, '0.0.0.0', () => resolve((server.address() as AddressInfo).port));
  });
}

console.log(`listening ${await serve()} ${await serve()}`);
