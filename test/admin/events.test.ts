import { once } from 'node:events';
import { createServer, get, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { getRequestListener } from '@hono/node-server';
import { describe, expect, test } from 'vitest';
import { Followers } from '../../src/admin/followers.ts';
import { ManualClock } from '../../src/core/clock.ts';
import { Timeline, type TimelineEvent } from '../../src/telemetry/timeline.ts';
import { AdminFixture } from './fixture.ts';

function happen(timeline: Timeline, to: string, service = 'web'): void {
  timeline.add({ kind: 'probe', service, instance: 'i-1', to, cause: 'test' });
}

function follow(part: { limit?: number } = {}) {
  const clock = new ManualClock();
  const timeline = new Timeline({ clock });
  return { clock, timeline, followers: new Followers({ clock, timeline, ...part }) };
}

async function read(reader: ReadableStreamDefaultReader<Uint8Array>, count: number): Promise<string[]> {
  const found: string[] = [];
  for (let at = 0; at < count; at++) {
    const { value, done } = await reader.read();
    found.push(done ? 'END' : new TextDecoder().decode(value));
  }
  return found;
}

test('the latest events, those after a number, those of a service', async () => {
  const it = new AdminFixture();
  happen(it.timeline, 'a');
  happen(it.timeline, 'b', 'api');
  happen(it.timeline, 'c');
  const fates = async (path: string): Promise<string[]> => {
    const { events } = (await it.json(path)) as unknown as { events: TimelineEvent[] };
    return events.map(({ to }) => to);
  };
  expect(await fates('/api/events')).toEqual(['a', 'b', 'c']);
  expect(await fates('/api/events?after=1')).toEqual(['b', 'c']);
  expect(await fates('/api/events?service=web')).toEqual(['a', 'c']);
  expect(await fates('/api/events?limit=1')).toEqual(['c']);
  expect(await fates('/api/events?after=nonsense')).toEqual(['a', 'b', 'c']);
});

describe('a follower', () => {
  test('gets what it missed, then what happens, as server-sent events', async () => {
    const { timeline, followers } = follow();
    happen(timeline, 'a');
    happen(timeline, 'b');
    const reader = followers.follow({ after: 1, service: undefined })!.getReader();
    happen(timeline, 'c');
    const [hello, ...events] = await read(reader, 3);
    expect(hello).toBe(': the timeline\n\n');
    expect(events.map((text) => /^id: (\d+)\nevent: probe\ndata: (\{.*\})\n\n$/.exec(text)?.slice(1, 2)[0])).toEqual([
      '2',
      '3',
    ]);
    await reader.cancel();
  });

  test('of one service hears of no other', async () => {
    const { timeline, followers } = follow();
    const reader = followers.follow({ after: 0, service: 'api' })!.getReader();
    happen(timeline, 'a', 'web');
    happen(timeline, 'b', 'api');
    expect((await read(reader, 2))[1]).toContain('"to":"b"');
    await reader.cancel();
  });

  test('is told now and then that the line is open', async () => {
    const { clock, followers } = follow();
    const reader = followers.follow({ after: 0, service: undefined })!.getReader();
    clock.advance(15_000);
    expect(await read(reader, 2)).toEqual([': the timeline\n\n', ': still here\n\n']);
    await reader.cancel();
    expect([followers.count, clock.pending]).toEqual([0, 0]);
  });

  test('that does not read is let go, and what it holds is bounded', async () => {
    const { clock, timeline, followers } = follow();
    const reader = followers.follow({ after: 0, service: undefined })!.getReader();
    for (let at = 0; at < 5000; at++) happen(timeline, `${at}`);
    expect([followers.count, clock.pending]).toEqual([0, 0]);
    const all = await read(reader, 1025);
    expect(all.at(-1)).toBe('END');
    expect(all.filter((text) => text.startsWith('id:')).length).toBeLessThan(1024);
  });

  test('is one of a bounded number', async () => {
    const { followers } = follow({ limit: 2 });
    const first = followers.follow({ after: 0, service: undefined })!;
    followers.follow({ after: 0, service: undefined });
    expect(followers.follow({ after: 0, service: undefined })).toBeUndefined();
    await first.cancel();
    expect(followers.follow({ after: 0, service: undefined })).toBeDefined();
  });
});

test('over a real connection, events arrive as they happen and a reader that leaves is forgotten', async () => {
  const it = new AdminFixture();
  happen(it.timeline, 'before');
  const listener = getRequestListener((request) => it.app.fetch(request));
  const server = createServer((request, response) => void listener(request, response));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const request = get({ host: '127.0.0.1', port, path: '/api/events?follow', headers: { 'last-event-id': '0' } });
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  expect(response.headers['content-type']).toBe('text/event-stream');
  let text = '';
  response.on('data', (data: Buffer) => (text += data.toString()));
  response.on('error', () => undefined);
  await expect.poll(() => text).toContain('"to":"before"');
  happen(it.timeline, 'after');
  await expect.poll(() => text).toContain('"to":"after"');
  const timers = it.clock.pending;
  request.destroy();
  // The heartbeat of the follower is the timer that goes with it.
  await expect.poll(() => it.clock.pending, { timeout: 5000 }).toBe(timers - 1);
  server.close();
});
