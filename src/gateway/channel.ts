/** A line of messages between a gateway and the one that takes its place. Messages are plain data. */
export interface Channel {
  send(message: object): void;
  /** One listener at a time. */
  onMessage(listener: (message: unknown) => void): void;
  /** The other end is gone, or has hung up. Not called for our own `close`. */
  onClosed(listener: () => void): void;
  /** Hangs up, once what was sent has gone out. */
  close(): void;
}

/** The process that is to take our place, as long as it is a child of ours. */
export interface Successor extends Channel {
  readonly pid: number;
  /** How it ended. */
  readonly exited: Promise<string>;
  /** Ends it at once. */
  kill(): void;
  /** Lets it read its configuration again, as HUP does. */
  hangUp(): void;
}

/** Where the first of the sockets is that a successor inherits: behind its standard streams and the channel. */
export const FIRST_INHERITED_FD = 4;

/** Starts this program anew, from what is on disk now, with these sockets. */
export type SpawnSuccessor = (fds: readonly number[]) => Successor;
