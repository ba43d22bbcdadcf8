// Instances that are asked by the thousand: node bench/lab/probe-targets.ts '{"host":"127.0.0.1","ports":10,…}'
// Prints {"ports":[…]} once it listens. Answers without parsing: what it costs is not what is measured.
import { once } from 'node:events';
import net, { type AddressInfo } from 'node:net';
import { acceptHandles, HandleTransport } from '../../src/http1/handle-transport.ts';
import type { Transport, TransportSink } from '../../src/http1/transport.ts';

export interface TargetOptions {
  /** `0.0.0.0`: at every loopback address, of which there are 16 million. */
  readonly hosts: readonly string[];
  readonly portsEach: number;
  /** Answers with a body of so many bytes; undefined = a black hole, whose full backlog drops every further connection. */
  readonly bodyBytes: number | undefined;
  /** Each answer closes its connection. */
  readonly close: boolean;
}

const options = JSON.parse(process.argv[2] ?? '') as TargetOptions;
const BACKLOG = options.bodyBytes === undefined ? 1 : 4096;

const body = 'x'.repeat(options.bodyBytes ?? 0);
const reply = Buffer.from(
  `HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n${options.close ? 'Connection: close\r\n' : ''}\r\n${body}`,
);

class Answering implements TransportSink {
  transport: Transport | undefined = undefined;

  onBytes(): void {
    this.transport?.write(reply, 0, reply.length);
    if (options.close) this.transport?.end();
  }

  onEnd(): void {
    this.transport?.destroy();
  }

  onDrain(): void {
    // The reply is the same memory for everybody, and never changes.
  }

  onClose(): void {
    this.transport = undefined;
  }
}

function accept(handle: unknown): void {
  const sink = new Answering();
  sink.transport = new HandleTransport(handle, sink);
  sink.transport.resume();
}

const servers: net.Server[] = [];
for (const host of options.hosts) {
  for (let count = 0; count < options.portsEach; count += 1) {
    const server = net.createServer();
    server.listen({ host, port: 0, backlog: BACKLOG });
    await once(server, 'listening');
    if (!acceptHandles(server, accept, (code) => process.stderr.write(`accept: ${code}\n`)))
      throw new Error('this Node has no handles to accept');
    servers.push(server);
  }
}
const ports = servers.map((server) => (server.address() as AddressInfo).port);

// Never accepts: the kernel fills the backlog with the first connections and drops what comes after them.
if (options.bodyBytes === undefined) {
  await new Promise<void>((resolve) => process.stdout.write(`${JSON.stringify({ ports })}\n`, () => resolve()));
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
} else process.stdout.write(`${JSON.stringify({ ports })}\n`);
