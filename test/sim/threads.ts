import type { Random } from '../../src/core/random.ts';
import { DataThread } from '../../src/worker/data-thread.ts';
import type { FromThread, ToThread } from '../../src/worker/messages.ts';
import type { SpawnThread } from '../../src/worker/worker-thread.ts';
import type { Line } from './line.ts';
import type { Network } from './process.ts';
import type { OwnedClock, VirtualTime } from './virtual-clock.ts';

export interface SimThreadsOptions {
  readonly time: VirtualTime;
  readonly random: Random;
  readonly network: Network;
  /** From one thread to another, milliseconds. */
  readonly messageMs: number;
}

/** A data-plane thread of the simulation, for as long as it lives. */
export interface SimThread {
  readonly number: number;
  readonly thread: DataThread;
  readonly clock: OwnedClock;
  readonly bornMs: number;
  /** Its connections: they break when it dies. */
  readonly lines: Set<Line>;
  /** Ends it without a warning, as an uncaught error would. */
  die(): void;
}

/** Data-plane threads on this one: messages are copied and take their time, and each thread has timers of its own. */
export class SimThreads {
  /** Those that live, by number. */
  readonly alive = new Map<number, SimThread>();
  /** Those that have died and of which the control thread does not know. */
  unburied = 0;
  readonly #options: SimThreadsOptions;
  readonly #messages: OwnedClock;

  constructor(options: SimThreadsOptions) {
    this.#options = options;
    this.#messages = options.time.clock();
  }

  /** Timers that living threads hold. */
  get pending(): number {
    let pending = 0;
    for (const { clock } of this.alive.values()) pending += clock.pending;
    return pending;
  }

  readonly spawn: SpawnThread = (setup, { onMessage, onExit }) => {
    const { time, random, network, messageMs } = this.#options;
    const { number } = setup;
    const clock = time.clock();
    const lines = new Set<Line>();
    let over = false;
    const deliver = (take: () => void): void => {
      this.#messages.after(messageMs, take);
    };
    const end = (cause: string): void => {
      if (over) return;
      over = true;
      clock.halt();
      this.alive.delete(number);
      for (const line of lines) line.cut();
      this.unburied++;
      deliver(() => {
        this.unburied--;
        onExit(cause);
      });
    };
    const send = (message: FromThread): void => {
      if (over) return;
      const copy = structuredClone(message);
      deliver(() => {
        onMessage(copy);
      });
    };
    const thread = new DataThread({
      setup: structuredClone(setup),
      send,
      clock,
      random,
      connect: ({ host, port }, sink, done) =>
        network.at(host, port).connect(
          sink,
          (line, code) => {
            if (line) lines.add(line);
            done(line, code);
          },
          () => over,
        ),
    });
    this.alive.set(number, {
      number,
      thread,
      clock,
      bornMs: time.nowMs,
      lines,
      die: () => {
        end('it was made to die');
      },
    });
    return {
      post: (message) => {
        const copy = structuredClone(message) as ToThread;
        deliver(() => {
          if (!over) thread.receive(copy);
        });
      },
      terminate: () => {
        end('it was terminated');
        return Promise.resolve();
      },
    };
  };
}
