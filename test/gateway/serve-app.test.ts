import http from 'node:http';
import net from 'node:net';
import { Hono } from 'hono';
import { afterEach, describe, expect, it } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import { type ServedApp, serveApp } from '../../src/gateway/serve-app.ts';

const served: ServedApp[] = [];
const agents: http.Agent[] = [];
const closes: (() => void)[] = [];
afterEach(async () => {
  for (const close of closes.splice(0)) close();
  for (const agent of agents.splice(0)) agent.destroy();
  await Promise.all(served.splice(0).map((each) => each.close()));
});

/** An app that answers with its name, and to POST with what it was sent. */
function app(name: string, until: Promise<void> = Promise.resolve()): Hono {
  const made = new Hono();
  made.get('/', (context) => context.text(name, 200, { 'x-from': name }));
  made.post('/', async (context) => context.text(`${name} ${await context.req.text()}`, 201));
  made.get('/slow', async (context) => {
    await until;
    return context.text(`${name}, late`);
  });
  return made;
}

async function serve(hono: Hono, port = 0, fd?: number, more: { silenceMs?: number } = {}): Promise<ServedApp> {
  const one = await serveApp(hono, { host: '127.0.0.1', port, fd, setting: 'test', clock: systemClock, ...more });
  served.push(one);
  return one;
}

/** Somebody who accepts, and says no more than `words`, once. */
async function mute(port: number, words = ''): Promise<net.Socket[]> {
  const accepted: net.Socket[] = [];
  const server = net.createServer((socket) => {
    socket.on('error', () => undefined).on('close', () => socket.destroy());
    if (words !== '' && accepted.length === 0) socket.write(words);
    accepted.push(socket);
    socket.resume();
  });
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
  closes.push(() => {
    for (const socket of accepted) socket.destroy();
    server.close();
  });
  return accepted;
}

interface Answer {
  readonly status: number | undefined;
  readonly text: string;
  readonly headers: http.IncomingHttpHeaders;
}

function asker(port: number): (path?: string, body?: string) => Promise<Answer> {
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  agents.push(agent);
  return (path = '/', body) =>
    new Promise((resolve, reject) => {
      const method = body === undefined ? 'GET' : 'POST';
      const outgoing = http.request({ host: '127.0.0.1', port, path, agent, method }, (response) => {
        let text = '';
        response.on('data', (chunk: Buffer) => (text += chunk.toString()));
        response.on('error', reject);
        response.on('end', () => resolve({ status: response.statusCode, text, headers: response.headers }));
      });
      outgoing.on('error', reject).end(body);
    });
}

const connections = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = net.connect(port, '127.0.0.1', () => resolve(true)).on('error', () => resolve(false));
    socket.unref();
  });

describe('a listener that is handed on', () => {
  it('answers what was asked before, and passes on what comes on its connections to whoever listens there next', async () => {
    let goOn = (): void => undefined;
    const one = await serve(app('one', new Promise((resolve) => (goOn = resolve))));
    const [kept, slow] = [asker(one.port), asker(one.port)];
    expect((await kept()).text).toBe('one');
    const late = slow('/slow');
    await new Promise((resolve) => setTimeout(resolve, 50));
    const handed = one.handOn(5000);
    expect(await connections(one.port)).toBe(false);
    goOn();
    await handed;
    expect(await late).toMatchObject({ status: 200, text: 'one, late', headers: { connection: 'close' } });
    await serve(app('two'), one.port);
    const answer = await kept();
    expect(answer).toMatchObject({ status: 200, text: 'two', headers: { 'x-from': 'two', connection: 'close' } });
  });

  it('passes bodies on', async () => {
    const one = await serve(app('one'));
    const kept = asker(one.port);
    await kept();
    await one.handOn(0);
    await serve(app('two'), one.port);
    expect(await kept('/', 'x'.repeat(50_000))).toMatchObject({ status: 201, text: `two ${'x'.repeat(50_000)}` });
  });

  it('says so where nobody listens there', async () => {
    const one = await serve(app('one'));
    const kept = asker(one.port);
    await kept();
    await one.handOn(0);
    const answer = await kept();
    expect(answer).toMatchObject({ status: 503, headers: { 'retry-after': '1', connection: 'close' } });
    expect(JSON.parse(answer.text)).toMatchObject({ status: 503 });
  });

  it('says so where whoever listens there accepts and never answers', async () => {
    const one = await serve(app('one'), 0, undefined, { silenceMs: 100 });
    const [first, second] = [asker(one.port), asker(one.port)];
    await Promise.all([first(), second()]);
    await one.handOn(0);
    const accepted = await mute(one.port);
    const answers = await Promise.all([first(), second('/', 'x'.repeat(3_000_000))]);
    for (const answer of answers) {
      expect(answer).toMatchObject({ status: 504, headers: { 'retry-after': '1', connection: 'close' } });
      expect(answer.headers['content-type']).toBe('application/problem+json');
      expect(JSON.parse(answer.text)).toMatchObject({ status: 504, title: expect.any(String) as string });
    }
    // What was given up on leaves no connection.
    await expect.poll(() => accepted.filter((socket) => !socket.destroyed)).toEqual([]);
  });

  it('waits as long as it takes for an answer of somebody who answers others', async () => {
    const one = await serve(app('one'), 0, undefined, { silenceMs: 50 });
    const kept = asker(one.port);
    await kept();
    await one.handOn(0);
    await serve(app('two', new Promise((resolve) => setTimeout(resolve, 700))), one.port);
    expect(await kept('/slow')).toMatchObject({ status: 200, text: 'two, late' });
  });

  it('ends answers in the middle of which whoever listens there falls silent', async () => {
    const one = await serve(app('one'), 0, undefined, { silenceMs: 100 });
    const kept = asker(one.port);
    await kept();
    await one.handOn(0);
    await mute(one.port, 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n');
    await expect(kept()).rejects.toMatchObject({ code: 'ECONNRESET' });
  });

  it('leaves its connections a while to ask once more, and ends as soon as none is left', async () => {
    const one = await serve(app('one'));
    const kept = asker(one.port);
    await kept();
    await one.handOn(0);
    await serve(app('two'), one.port);
    const beganMs = performance.now();
    const closed = one.close(20_000);
    await new Promise((resolve) => setTimeout(resolve, 200));
    expect(await kept()).toMatchObject({ status: 200, text: 'two', headers: { connection: 'close' } });
    await closed;
    expect(performance.now() - beganMs).toBeLessThan(15_000);
  });

  it('ends with what is still open on it', async () => {
    const one = await serve(app('one', new Promise(() => undefined)));
    const never = asker(one.port)('/slow').catch((error: unknown) => (error as NodeJS.ErrnoException).code);
    await new Promise((resolve) => setTimeout(resolve, 50));
    await one.handOn(20);
    await one.close(20);
    expect(await never).toBe('ECONNRESET');
  });
});
