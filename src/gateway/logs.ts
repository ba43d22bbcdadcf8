import type { Config, LogDestination } from '../config/config.ts';
import type { Clock } from '../core/clock.ts';
import { LineSink } from '../telemetry/line-sink.ts';
import { type EventLog, openEventLog } from '../telemetry/log.ts';
import { fileAt, type SinkFiles, standardStream } from '../telemetry/sink-files.ts';
import type { PreparedChange, Reloadable } from './reload.ts';
import { same } from './same-config.ts';

const CLOSE_MS = 1000;

/** The event log and the access log, each with its destination. */
export class Logs implements Reloadable {
  readonly event: EventLog;
  readonly #clock: Clock;
  #access: LineSink | undefined;
  /** Of access logs that are closed. */
  #dropped = 0;

  /** Throws where a file cannot be opened. */
  constructor(clock: Clock, config: Config) {
    this.#clock = clock;
    const { destination, level } = config.log;
    this.event = openable('log.destination', () => openEventLog({ clock, files: filesOf(destination), level }));
    this.#access = openable('gateway.accessLog', () => this.#openAccess(config));
  }

  /** Whole lines of the access log. Never waits: what finds no room is dropped and counted. */
  writeAccess(lines: Uint8Array): void {
    this.#access?.writeBytes(Buffer.from(lines.buffer, lines.byteOffset, lines.byteLength), lines.byteLength);
  }

  get accessDropped(): number {
    return this.#dropped + (this.#access?.dropped ?? 0);
  }

  prepare(next: Config, before: Config): PreparedChange {
    const moves = !same(next.log.destination, before.log.destination);
    const files = filesOf(next.log.destination);
    // Only to see whether it can be had: an open file is no promise for the next one, but a missing directory is seen.
    if (moves) openable('log.destination', () => files.open().close());
    const accessMoves = !same(next.gateway.accessLog, before.gateway.accessLog);
    const opened = accessMoves ? openable('gateway.accessLog', () => this.#openAccess(next)) : undefined;
    return {
      commit: () => {
        if (moves) this.event.reopen(files);
        this.event.setLevel(next.log.level);
        if (accessMoves) this.#switchAccess(opened);
        return [
          ...(moves ? [`log.destination is ${wordOf(next.log.destination)}`] : []),
          ...(next.log.level === before.log.level ? [] : [`log.level is ${next.log.level}`]),
          ...(accessMoves ? [`gateway.accessLog is ${wordOf(next.gateway.accessLog)}`] : []),
        ];
      },
      abandon: async () => {
        await opened?.close(CLOSE_MS);
      },
    };
  }

  reopen(): void {
    this.event.reopen();
    this.#access?.reopen();
  }

  async close(): Promise<void> {
    await Promise.all([this.event.close(CLOSE_MS), this.#access?.close(CLOSE_MS)]);
  }

  #switchAccess(opened: LineSink | undefined): void {
    const closed = this.#access;
    this.#access = opened;
    this.#dropped += closed?.dropped ?? 0;
    void closed?.close(CLOSE_MS);
  }

  #openAccess({ gateway: { accessLog } }: Config): LineSink | undefined {
    if (accessLog === 'off') return undefined;
    return new LineSink({ clock: this.#clock, files: filesOf(accessLog), flushMs: 100, maxBlocks: 64 });
  }
}

function filesOf(destination: LogDestination): SinkFiles {
  if (destination.to === 'file') return fileAt(destination.path ?? '');
  return standardStream(destination.to === 'stderr' ? 2 : 1);
}

function wordOf(destination: LogDestination | 'off'): string {
  return destination === 'off' ? 'off' : (destination.path ?? destination.to);
}

function openable<T>(setting: string, open: () => T): T {
  try {
    return open();
  } catch (error) {
    throw new Error(`${setting}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
  }
}
