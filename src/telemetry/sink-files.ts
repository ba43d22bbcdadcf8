import { close, constants, fstatSync, openSync, write } from 'node:fs';
import { Socket } from 'node:net';

/** An open destination of a `LineSink`. */
export interface SinkFile {
  /** Calls `done` once, later. It may write less than asked. */
  write(
    bytes: Buffer,
    offset: number,
    length: number,
    done: (error: NodeJS.ErrnoException | null, written: number) => void,
  ): void;
  /** Nothing is written after this. */
  close(): void;
}

export interface SinkFiles {
  /** Opens the destination, anew each time. Throws where that is not possible. */
  open(): SinkFile;
}

const MODE = 0o640;
// A full pipe must answer EAGAIN. A write that blocks would hold one of the few threads of libuv's pool, and the
// process could not even exit until somebody read.
const FLAGS = constants.O_WRONLY | constants.O_APPEND | constants.O_NONBLOCK | constants.O_NOCTTY;

/** A file that is appended to, and made where it is missing. */
export function fileAt(path: string): SinkFiles {
  return { open: () => onDescriptor(openSync(path, FLAGS | constants.O_CREAT, MODE), true) };
}

/** Standard output (1) or standard error (2). */
export function standardStream(descriptor: 1 | 2): SinkFiles {
  let unblocked: Socket | undefined;
  return {
    open() {
      const kind = fstatSync(descriptor);
      const own = kind.isFIFO() || kind.isCharacterDevice() ? openedAgain(descriptor) : undefined;
      if (own !== undefined) return onDescriptor(own, true);
      if (kind.isFIFO() || kind.isSocket()) unblocked ??= unblock(descriptor);
      return onDescriptor(descriptor, false);
    },
  };
}

/**
 * The pipe or terminal behind a descriptor, opened once more: O_NONBLOCK belongs to the open file description, which
 * we share with every process on the same pipeline, so it is better not set on the one we were given.
 */
function openedAgain(descriptor: number): number | undefined {
  try {
    return openSync(`/proc/self/fd/${descriptor}`, FLAGS);
  } catch {
    // No /proc, or a pipe of another user.
    return undefined;
  }
}

/**
 * Sets O_NONBLOCK on the descriptor as it is, which is all that is wanted of the socket: a journal's or a parent's
 * socket cannot be opened again. Whoever keeps the result keeps the descriptor open.
 */
function unblock(descriptor: number): Socket {
  const socket = new Socket({ fd: descriptor, readable: false, writable: true });
  return socket.unref();
}

function onDescriptor(descriptor: number, owned: boolean): SinkFile {
  return {
    write(bytes, offset, length, done) {
      write(descriptor, bytes, offset, length, null, done);
    },
    close() {
      if (!owned) return;
      close(descriptor, () => {
        // Nothing was buffered behind it, and no one can act on the failure to close a log.
      });
    },
  };
}
