// Opens many connections, makes one request on each, and then leaves them idle until TERM.
// Prints {"open":N} when all are there, and {"stillOpen":N} at the end. Run by npm run bench.
import { RawConnection, type RawConnectionEvents } from './raw-connection.ts';
import { encodeRequest, optionsFromArgv, type LoadRequest } from './request.ts';

export interface IdleOptions {
  readonly request: LoadRequest;
  readonly connections: number;
  /** How many are being opened at any time: below every listen queue. */
  readonly opening: number;
}

const options = optionsFromArgv() as IdleOptions;
const bytes = encodeRequest(options.request);
const open = new Set<RawConnection>();
let started = 0;

function openNext(): void {
  if (started === options.connections) return;
  started += 1;
  new RawConnection(started, options.request.port, events);
}

const events: RawConnectionEvents = {
  onOpen: (connection) => connection.send(bytes),
  onReply: (connection, status) => {
    if (status !== 200) throw new Error(`status ${status} while opening`);
    open.add(connection);
    if (open.size === options.connections) process.stdout.write(`${JSON.stringify({ open: open.size })}\n`);
    else openNext();
  },
  onLost: (connection, cause) => {
    if (!open.delete(connection)) throw cause ?? new Error('closed by the other side while opening');
  },
};

process.once('SIGTERM', () => {
  process.stdout.write(`${JSON.stringify({ stillOpen: open.size })}\n`);
  for (const connection of open) connection.destroy();
});
for (let count = 0; count < options.opening; count += 1) openNext();
