import { execFile } from 'node:child_process';
import { once } from 'node:events';
import net, { type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, describe, expect, it } from 'vitest';
import { Departures, monotonicMs, Slots } from '../../bench/load/departures.ts';
import type { OpenLoopOptions, OpenLoopResult } from '../../bench/load/open-loop.ts';
import { poissonSchedule } from '../../bench/load/schedule.ts';

describe('what sender and reader share', () => {
  it('uses all connections in turn, and none twice at once', () => {
    const slots = new Slots(2);
    slots.give(0);
    slots.give(1);
    expect([slots.take(7), slots.take(8), slots.take(9)]).toEqual([0, 1, undefined]);
    expect(slots.settle(1)).toBe(8);
    expect(slots.settle(1)).toBeUndefined();
    slots.give(1);
    expect(slots.take(9)).toBe(1);
    expect(slots.settle(0)).toBe(7);
  });
});

describe('a schedule', () => {
  const options = { ratePerS: 1000, lengthMs: 2000, seed: 3 };

  it('is the same for the same seed, and another for another', () => {
    expect(poissonSchedule(options)).toEqual(poissonSchedule(options));
    expect(poissonSchedule(options)).not.toEqual(poissonSchedule({ ...options, seed: 4 }));
  });

  it('has the rate that was asked for, ascending', () => {
    const due = poissonSchedule(options);
    expect(Math.abs(due.length - 2000)).toBeLessThan(200);
    expect([...due].sort((a, b) => a - b)).toEqual([...due]);
  });
});

describe('departures', () => {
  it('send what is due and has a connection, and count how late that was', () => {
    const slots = new Slots(2);
    slots.give(0);
    slots.give(1);
    const written: number[] = [];
    const departures = new Departures({
      due: Float64Array.of(0, 10, 20, 10_000),
      startMs: monotonicMs() - 1000,
      timedFromMs: 5,
      slots,
      write: (slot) => void written.push(slot),
    });
    expect(departures.sendDue()).toBe(0);
    expect(written).toEqual([0, 1]);
    slots.settle(1);
    slots.give(1);
    expect(departures.sendDue()).toBeGreaterThan(8000);
    expect(departures.sent).toBe(3);
    // The first one was not to be timed.
    expect(departures.late.total).toBe(2);
    expect(departures.late.percentileUs(0.5)).toBeGreaterThan(970_000);
  });
});

describe.runIf(process.platform === 'linux')('the open loop', () => {
  const servers: net.Server[] = [];
  afterEach(() => {
    for (const server of servers.splice(0)) server.close();
  });

  /** Answers each request, and those of a stretch of `stallMs` only at its end. */
  async function origin(stallMs: number): Promise<number> {
    let startMs: number | undefined;
    const server = net.createServer({ noDelay: true }, (socket) => {
      socket.on('error', () => socket.destroy());
      socket.on('data', () => {
        startMs ??= performance.now();
        const atMs = performance.now() - startMs;
        const answer = (): void => void socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
        const [fromMs, toMs] = [1000, 1000 + stallMs];
        if (atMs > fromMs && atMs < toMs) setTimeout(answer, toMs - atMs);
        else answer();
      });
    });
    servers.push(server);
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return (server.address() as AddressInfo).port;
  }

  it.each(['spin', 'sleep'] as const)('counts a stall for every request that it delayed (%s)', async (pace) => {
    const port = await origin(300);
    const options: OpenLoopOptions = {
      request: { port, host: 'a', method: 'GET', path: '/', bodyBytes: 0, close: false },
      ratePerS: 200,
      warmUpMs: 100,
      durationMs: 1900,
      connections: 8,
      seed: 1,
      pace,
    };
    const program = join(import.meta.dirname, '../../bench/load/open-loop.ts');
    const { stdout } = await promisify(execFile)(process.execPath, [program, JSON.stringify(options)]);
    const result = JSON.parse(stdout) as OpenLoopResult;
    expect(result).toMatchObject({ unfinished: 0, badStatus: 0, lost: 0 });
    const scheduled = poissonSchedule({ ratePerS: 200, lengthMs: 2000, seed: 1 });
    expect(result.replies).toBe(scheduled.length);
    expect(result.timed).toBe(scheduled.filter((dueMs) => dueMs >= 100).length);
    // About a seventh of all were due in the stall; eight of them were sent in it, the others could not be.
    expect(result.latencyUs.p90).toBeGreaterThan(50_000);
    expect(result.lateUs.p90).toBeGreaterThan(30_000);
    expect(result.latencyUs.max).toBeGreaterThan(250_000);
  });
});
