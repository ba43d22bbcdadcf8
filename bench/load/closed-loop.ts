// As many requests as come back, over a fixed number of connections: stands in for wrk where that is not installed.
// Run by npm run bench.
import { RawConnection, type RawConnectionEvents } from './raw-connection.ts';
import { encodeRequest, optionsFromArgv, type LoadRequest } from './request.ts';

export interface ClosedLoopOptions {
  readonly request: LoadRequest;
  readonly durationMs: number;
  readonly connections: number;
}

export interface ClosedLoopResult {
  readonly replies: number;
  readonly durationMs: number;
  readonly badStatus: number;
  /** Failed connects and connections that broke. */
  readonly lost: number;
}

/** A lost connection is made again after this pause, so that a proxy that is gone is not hammered. */
const RECONNECT_MS = 10;

async function run(options: ClosedLoopOptions): Promise<ClosedLoopResult> {
  const bytes = encodeRequest(options.request);
  const open = new Map<number, RawConnection>();
  let replies = 0;
  let badStatus = 0;
  let lost = 0;
  let over = false;

  const events: RawConnectionEvents = {
    onOpen: (connection) => connection.send(bytes),
    onReply: (connection, status) => {
      replies += 1;
      if (status !== 200) badStatus += 1;
      if (options.request.close) renew(connection.slot);
      else connection.send(bytes);
    },
    onLost: (connection) => {
      lost += 1;
      setTimeout(() => renew(connection.slot), RECONNECT_MS);
    },
  };
  const renew = (slot: number): void => {
    open.get(slot)?.destroy();
    if (!over) open.set(slot, new RawConnection(slot, options.request.port, events));
  };

  const startMs = performance.now();
  for (let slot = 0; slot < options.connections; slot += 1) renew(slot);
  await new Promise((resolve) => setTimeout(resolve, options.durationMs));
  over = true;
  const durationMs = performance.now() - startMs;
  for (const connection of open.values()) connection.destroy();
  return { replies, durationMs, badStatus, lost };
}

process.stdout.write(`${JSON.stringify(await run(optionsFromArgv() as ClosedLoopOptions))}\n`);
