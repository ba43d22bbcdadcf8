// The thread of open-loop.ts that sleeps until a request is due and writes it to its connection itself, so that nothing
// has to be handed to an event loop, whose timers are whole milliseconds.
import { readlinkSync, writeFileSync, writeSync } from 'node:fs';
import { basename } from 'node:path';
import { parentPort, workerData } from 'node:worker_threads';
import { Departures, Slots } from './departures.ts';
import type { Percentiles } from './histogram.ts';

export interface SendingSetup {
  readonly due: Float64Array;
  readonly startMs: number;
  readonly timedFromMs: number;
  readonly bytes: Uint8Array;
  /** Descriptor of each connection. */
  readonly fds: readonly number[];
  readonly slots: SharedArrayBuffer;
}

export interface SendingResult {
  readonly sent: number;
  readonly lateUs: Percentiles;
}

const MAX_SLEEP_MS = 100;

/** The kernel may end a sleep 50 µs late to save power, unless it is asked not to (PR_SET_TIMERSLACK). */
function sleepExactly(): void {
  const thread = basename(readlinkSync('/proc/thread-self'));
  try {
    writeFileSync(`/proc/${thread}/timerslack_ns`, '1');
  } catch (error) {
    // Where it may not ask, it is late by so much, which the result says.
    if (!['ENOENT', 'EACCES', 'EPERM', 'EROFS'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
  }
}

function writeTo(fd: number, bytes: Uint8Array): void {
  try {
    const count = writeSync(fd, bytes);
    if (count < bytes.length) throw new Error(`a connection took ${count} of ${bytes.length} bytes`);
  } catch (error) {
    // Whoever reads the replies sees it too, and counts it.
    if (!['EPIPE', 'ECONNRESET', 'EBADF'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
  }
}

const { due, startMs, timedFromMs, bytes, fds, slots: buffer } = workerData as SendingSetup;
const slots = new Slots(fds.length, buffer);
const departures = new Departures({
  due,
  startMs,
  timedFromMs,
  slots,
  write: (slot) => {
    writeTo(fds[slot] ?? -1, bytes);
  },
});
sleepExactly();
for (let inMs = departures.sendDue(); inMs < Infinity && !slots.stopped; inMs = departures.sendDue()) {
  if (inMs === 0) slots.waitForFree(MAX_SLEEP_MS);
  else slots.sleep(Math.min(inMs, MAX_SLEEP_MS));
}
const result: SendingResult = { sent: departures.sent, lateUs: departures.late.percentilesUs() };
parentPort?.postMessage(result);
