import { pino, stdSerializers, type Logger as PinoLogger } from 'pino';
import type { Clock } from '../core/clock.ts';
import { LineSink } from './line-sink.ts';
import type { SinkFiles } from './sink-files.ts';

export type LogLevel = 'trace' | 'debug' | 'info' | 'warn' | 'error';

/** `error` takes an Error, with its causes. */
export type LogFields = Readonly<Record<string, unknown>>;

/**
 * What happened to the gateway, for people at night. `event` is a constant phrase ("registry lost"); what varies goes
 * into the fields.
 */
export interface Logger {
  trace(event: string, fields?: LogFields): void;
  debug(event: string, fields?: LogFields): void;
  info(event: string, fields?: LogFields): void;
  warn(event: string, fields?: LogFields): void;
  error(event: string, fields?: LogFields): void;
  /** The same log with fields that every line carries. */
  child(fields: LogFields): Logger;
}

/** The log with its file. Owned by whoever made it. */
export interface EventLog extends Logger {
  /** Lines given up because the destination was too slow or broken. */
  readonly dropped: number;
  setLevel(level: LogLevel): void;
  /** After a rotation of the file; or from now on somewhere else. */
  reopen(files?: SinkFiles): void;
  /** Writes what is left, for `deadlineMs` at most. */
  close(deadlineMs: number): Promise<void>;
}

export interface EventLogOptions {
  readonly clock: Clock;
  readonly files: SinkFiles;
  readonly level: LogLevel;
}

/** Nobody reads faster, and in a storm of changes each write costs more than the lines in it. */
const FLUSH_MS = 10;

/** One JSON line per event: `time`, `level`, `event` and its fields. Throws where the file cannot be opened. */
export function openEventLog({ clock, files, level }: EventLogOptions): EventLog {
  const sink = new LineSink({ clock, files, flushMs: FLUSH_MS, maxBlocks: 16 });
  const root = pino(
    {
      level,
      base: null,
      messageKey: 'event',
      timestamp: () => `,"time":"${new Date(clock.wall()).toISOString()}"`,
      formatters: { level: (label) => ({ level: label }) },
      serializers: { error: stdSerializers.err },
    },
    sink,
  );
  return {
    ...loggerOn(root, () => root.level),
    get dropped() {
      return sink.dropped;
    },
    setLevel(next) {
      root.level = next;
    },
    reopen(files) {
      sink.reopen(files);
    },
    close: (deadlineMs) => sink.close(deadlineMs),
  };
}

function loggerOn(log: PinoLogger, rootLevel: () => string): Logger {
  const at =
    (level: LogLevel) =>
    (event: string, fields: LogFields = {}): void => {
      // pino copies the level into a child when it is made; ours follow the root, which a reload may change.
      if (log.level !== rootLevel()) log.level = rootLevel();
      log[level](fields, event);
    };
  return {
    trace: at('trace'),
    debug: at('debug'),
    info: at('info'),
    warn: at('warn'),
    error: at('error'),
    child: (fields) => loggerOn(log.child(fields), rootLevel),
  };
}

/** Says nothing: for tests, and for rooms that were given no log. */
export const silentLogger: Logger = {
  trace: () => undefined,
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
  child: () => silentLogger,
};
