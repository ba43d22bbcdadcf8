import { parentPort, workerData } from 'node:worker_threads';
import { systemClock } from '../core/clock.ts';
import { systemRandom } from '../core/random.ts';
import { DataThread } from './data-thread.ts';
import { failAs } from './failing.ts';
import type { FailMessage, FromThread, ThreadSetup, ToThread } from './messages.ts';

/** The beginning of a data-plane thread: the only file that knows that it is one. */
const port = parentPort;
if (!port) throw new Error('this file is the beginning of a worker thread');

const thread = new DataThread({
  setup: workerData as ThreadSetup,
  send: (message: FromThread) => {
    if (message.type === 'lines') port.postMessage(message, [message.lines.buffer as ArrayBuffer]);
    else port.postMessage(message);
  },
  clock: systemClock,
  random: systemRandom,
});
port.on('message', (message: ToThread | FailMessage) => {
  if (message.type === 'fail') failAs(message.how);
  else thread.receive(message);
});
