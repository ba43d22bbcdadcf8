import type net from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import type { ServicePolicy } from '../../src/core/policy.ts';
import { Origin, RawClient, roundTrip, TestGateway } from './harness.ts';

const stops: (() => unknown)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0).reverse()) await stop();
});

const get = (path: string): string => `GET ${path} HTTP/1.1\r\nHost: web.localhost\r\n\r\n`;

/** An instance that counts what it has under way, and answers after a while, or when it is told to. */
class Instance {
  /** Paths of all requests, in the order in which they came. */
  readonly seen: string[] = [];
  open = 0;
  /** The most that were open at once. */
  most = 0;
  origin!: Origin;
  readonly #pending: (() => void)[] = [];
  readonly #read = new WeakMap<net.Socket, number>();

  static async start(takesMs?: number): Promise<Instance> {
    const self = new Instance();
    self.origin = await Origin.start((received, socket) => {
      const text = received.toString('latin1');
      const from = self.#read.get(socket) ?? 0;
      const headEnd = text.indexOf('\r\n\r\n', from);
      if (headEnd < 0) return;
      const head = text.slice(from, headEnd);
      const end = headEnd + 4 + Number(/content-length: (\d+)/i.exec(head)?.[1] ?? 0);
      if (text.length < end) return;
      self.#read.set(socket, end);
      self.#began(head.split(' ')[1] ?? '', socket, takesMs);
    });
    stops.push(() => self.origin.stop());
    return self;
  }

  /** Answers the request that has waited longest. */
  answer(): void {
    this.#pending.shift()?.();
  }

  #began(path: string, socket: net.Socket, takesMs: number | undefined): void {
    this.seen.push(path);
    this.most = Math.max(this.most, ++this.open);
    socket.once('close', () => (this.open = Math.max(0, this.open - 1)));
    const reply = (): void => {
      socket.removeAllListeners('close');
      this.open--;
      socket.write(`HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok`);
    };
    if (takesMs === undefined) this.#pending.push(reply);
    else setTimeout(reply, takesMs);
  }
}

async function gatewayTo(instances: readonly Instance[], policy: Partial<ServicePolicy>): Promise<TestGateway> {
  const gateway = await TestGateway.start(
    instances.map(({ origin }) => origin.port),
    {
      policy: { timeouts: { connectMs: 300, responseHeadMs: 10_000, bodyIdleMs: 5000, tunnelIdleMs: 5000 }, ...policy },
    },
  );
  stops.push(() => gateway.stop());
  return gateway;
}

async function clientOf(gateway: TestGateway, request: string): Promise<RawClient> {
  const client = await RawClient.connect(gateway.port);
  stops.push(() => client.destroy());
  const before = gateway.context.requests.own;
  client.send(request);
  // The next one comes after it.
  await expect.poll(() => gateway.context.requests.own > before || client.text !== '', { interval: 2 }).toBe(true);
  return client;
}

const answered = (client: RawClient): boolean => client.text.endsWith('ok') || client.text.includes('"flag"');
const status = (client: RawClient): string => client.text.slice(9, 12);

describe('a request that finds every instance at its limit', () => {
  const limited = { maxInflightPerInstance: 1, queue: { size: 10, timeoutMs: 5000 } };

  it('waits for the next place, first come, first served', async () => {
    const instance = await Instance.start();
    const gateway = await gatewayTo([instance], limited);
    const clients = [];
    for (const path of ['/1', '/2', '/3', '/4']) clients.push(await clientOf(gateway, get(path)));
    await expect.poll(() => instance.seen).toEqual(['/1']);
    for (const [at, client] of clients.entries()) {
      instance.answer();
      await client.until(() => answered(client));
      if (at < 3) await expect.poll(() => instance.seen.length).toBe(at + 2);
    }
    expect(instance.seen).toEqual(['/1', '/2', '/3', '/4']);
    expect(instance.most).toBe(1);
    expect(gateway.inflight).toBe(0);
  });

  it('gets 503 and the hour of its return when none comes free in time', async () => {
    const instance = await Instance.start();
    const gateway = await gatewayTo([instance], { maxInflightPerInstance: 1, queue: { size: 10, timeoutMs: 100 } });
    const first = await clientOf(gateway, get('/1'));
    const beganAt = performance.now();
    const late = await clientOf(gateway, get('/2'));
    await late.until(() => answered(late));
    expect(performance.now() - beganAt).toBeGreaterThan(90);
    expect(late.text).toMatch(/^HTTP\/1\.1 503 [\s\S]*Retry-After: \d+[\s\S]*"flag":"UO"/);
    instance.answer();
    await first.until(() => answered(first));
    expect(status(first)).toBe('200');
    expect(instance.seen).toEqual(['/1']);
  });

  it.each([0, 2])('gets 503 at once where %i wait already and no more may', async (size) => {
    const instance = await Instance.start();
    const gateway = await gatewayTo([instance], { maxInflightPerInstance: 1, queue: { size, timeoutMs: 5000 } });
    for (let i = 0; i <= size; i++) await clientOf(gateway, get(`/${i}`));
    expect(await roundTrip(gateway.port, get('/more'))).toContain('"flag":"UO"');
  });

  it('is forgotten with its client', async () => {
    const instance = await Instance.start();
    const gateway = await gatewayTo([instance], limited);
    const first = await clientOf(gateway, get('/1'));
    const gone = await clientOf(gateway, get('/2'));
    const third = await clientOf(gateway, get('/3'));
    gone.destroy();
    await expect.poll(() => gateway.context.requests.own).toBe(2);
    instance.answer();
    await first.until(() => answered(first));
    await expect.poll(() => instance.seen).toEqual(['/1', '/3']);
    instance.answer();
    await third.until(() => answered(third));
  });

  it('keeps its body, however long: what is too much for now stays with the client', async () => {
    const instance = await Instance.start();
    const gateway = await gatewayTo([instance], limited);
    const first = await clientOf(gateway, get('/1'));
    const body = 'b'.repeat(300_000);
    const post = await clientOf(
      gateway,
      `POST /2 HTTP/1.1\r\nHost: web.localhost\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
    );
    instance.answer();
    await first.until(() => answered(first));
    await expect.poll(() => instance.seen).toEqual(['/1', '/2']);
    instance.answer();
    await post.until(() => answered(post));
    expect(status(post)).toBe('200');
    expect(instance.origin.bytes.match(/b{1000,}/)?.[0]).toHaveLength(body.length);
  });

  it('takes a place that came free on another thread', async () => {
    const instance = await Instance.start(1);
    const gateway = await gatewayTo([instance], limited);
    gateway.figures.take(0);
    const client = await clientOf(gateway, get('/1'));
    expect(instance.seen).toEqual([]);
    gateway.figures.release(0);
    await client.until(() => answered(client));
    expect(status(client)).toBe('200');
  });

  it('goes elsewhere as soon as there is elsewhere', async () => {
    const [busy, fresh] = [await Instance.start(), await Instance.start(1)];
    const gateway = await gatewayTo([busy, fresh], limited);
    const { view } = gateway.service;
    gateway.service.view = { ...view, slots: Int32Array.of(0) };
    await clientOf(gateway, get('/1'));
    const second = await clientOf(gateway, get('/2'));
    gateway.service.view = view;
    await second.until(() => answered(second));
    expect(fresh.seen).toEqual(['/2']);
  });
});

describe('half of the instances lost', () => {
  it('leaves no more to each of the others than its limit; who cannot wait is told soon, and all is well afterwards', async () => {
    const instances = await Promise.all(Array.from({ length: 4 }, () => Instance.start(20)));
    const gateway = await gatewayTo(instances, {
      maxInflightPerInstance: 3,
      queue: { size: 8, timeoutMs: 150 },
    });
    const whole = gateway.service.view;
    let going = true;
    const counts = { whole: [0, 0], half: [0, 0], after: [0, 0] };
    let phase: keyof typeof counts = 'whole';
    let slowestMs = 0;
    const crowd = Array.from({ length: 24 }, async () => {
      while (going) {
        const during = phase;
        const beganAt = performance.now();
        const text = await roundTrip(gateway.port, get('/'));
        slowestMs = Math.max(slowestMs, performance.now() - beganAt);
        counts[during][text.startsWith('HTTP/1.1 200') ? 0 : 1]!++;
        if (!text.startsWith('HTTP/1.1 200')) {
          expect(text).toContain('"flag":"UO"');
          await new Promise((resolve) => setTimeout(resolve, 10));
        }
      }
    });
    await new Promise((resolve) => setTimeout(resolve, 300));
    phase = 'half';
    gateway.service.view = { ...whole, slots: whole.slots.slice(0, 2), available: 2 };
    await new Promise((resolve) => setTimeout(resolve, 500));
    gateway.service.view = whole;
    await new Promise((resolve) => setTimeout(resolve, 300));
    phase = 'after';
    await new Promise((resolve) => setTimeout(resolve, 300));
    going = false;
    await Promise.all(crowd);
    for (const { most } of instances) expect(most).toBeLessThanOrEqual(3);
    expect(counts.half[0]).toBeGreaterThan(20);
    expect(counts.half[1]).toBeGreaterThan(0);
    expect(counts.after[0]).toBeGreaterThan(counts.half[0]! / 4);
    expect(slowestMs).toBeLessThan(2000);
    await expect.poll(() => gateway.inflight).toBe(0);
    expect(gateway.context.requests.own).toBe(0);
  });
});
