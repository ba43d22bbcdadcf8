import http from 'node:http';
import net from 'node:net';
import { Hono } from 'hono';
import { afterEach, describe, expect, it } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import { type ServedApp, serveApp } from '../../src/gateway/serve-app.ts';

const served: ServedApp[] = [];
const agents: http.Agent[] = [];
afterEach(async () => {
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

async function serve(hono: Hono, port = 0, fd?: number): Promise<ServedApp> {
  const one = await serveApp(hono, { host: '127.0.0.1', port, fd, setting: 'test', clock: systemClock });
  served.push(one);
  return one;
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
