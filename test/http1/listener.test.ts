import net from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { HandleTransport } from '../../src/http1/handle-transport.ts';
import { type Listener, listen, type ListenOptions } from '../../src/http1/listener.ts';
import { SocketTransport } from '../../src/http1/socket-transport.ts';
import type { Transport } from '../../src/http1/transport.ts';
import { RecordingSink } from './transport.contract.ts';

const stops: (() => unknown)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0).reverse()) await stop();
});

/** Echoes what it is sent. */
class Echo extends RecordingSink {
  transport!: Transport;
  attach(transport: Transport): void {
    this.transport = transport;
    this.onRead = (buffer, start, end) => {
      const copy = Buffer.from(buffer.subarray(start, end));
      transport.write(copy, 0, copy.length);
    };
    transport.resume();
  }
}

async function started(options: Partial<ListenOptions> = {}): Promise<{ listener: Listener; echoes: Echo[] }> {
  const echoes: Echo[] = [];
  const listener = await listen({
    host: '127.0.0.1',
    port: 0,
    accept: () => {
      const echo = new Echo();
      echoes.push(echo);
      return echo;
    },
    onError: (code) => expect.unreachable(code),
    ...options,
  });
  stops.push(() => {
    for (const { transport } of echoes) transport.destroy();
    return listener.close();
  });
  return { listener, echoes };
}

function connect(port: number): net.Socket {
  const socket = net.connect({ port, host: '127.0.0.1' });
  socket.on('error', () => undefined);
  stops.push(() => socket.destroy());
  return socket;
}

async function echoed(socket: net.Socket, text: string): Promise<string> {
  const answer = new Promise<string>((resolve) => socket.once('data', (bytes: Buffer) => resolve(bytes.toString())));
  socket.write(text);
  return answer;
}

describe.each([
  { layer: 'bare handles', plainSockets: false, transport: HandleTransport },
  { layer: 'net.Socket', plainSockets: true, transport: SocketTransport },
])('a listener over $layer', ({ plainSockets, transport }) => {
  it('hands over connections of its layer, and says where it listens', async () => {
    const { listener, echoes } = await started({ plainSockets });
    expect([listener.host, listener.port > 0]).toEqual(['127.0.0.1', true]);
    expect(await echoed(connect(listener.port), 'hello')).toBe('hello');
    expect(echoes[0]!.transport).toBeInstanceOf(transport);
  });

  it('that closes accepts no more, and leaves open connections alone', async () => {
    const { listener } = await started({ plainSockets });
    const socket = connect(listener.port);
    await echoed(socket, 'before');
    void listener.close();
    const late = connect(listener.port);
    const code = await new Promise((resolve) =>
      late.once('error', (error: NodeJS.ErrnoException) => resolve(error.code)),
    );
    expect(code).toBe('ECONNREFUSED');
    expect(await echoed(socket, 'after')).toBe('after');
  });

  it('that cannot listen says where and why', async () => {
    const { listener } = await started({ plainSockets });
    await expect(started({ plainSockets, port: listener.port })).rejects.toThrow(
      `cannot listen on 127.0.0.1:${listener.port}: another process listens there already (EADDRINUSE)`,
    );
    await expect(started({ plainSockets, host: '192.0.2.1' })).rejects.toThrow(
      'cannot listen on 192.0.2.1:0: this machine has no such address (EADDRNOTAVAIL)',
    );
  });

  it('shares its port where asked', async () => {
    const first = await started({ plainSockets, reusePort: true });
    const second = await started({ plainSockets, reusePort: true, port: first.listener.port });
    const answers = await Promise.all(
      Array.from({ length: 40 }, (_, i) => echoed(connect(first.listener.port), `n${i}`)),
    );
    expect(answers).toEqual(Array.from({ length: 40 }, (_, i) => `n${i}`));
    expect(first.echoes.length + second.echoes.length).toBe(40);
  });
});
