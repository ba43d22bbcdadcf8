import { Worker } from 'node:worker_threads';
import type { FailMessage, FromThread, ThreadSetup, ToThread } from './messages.ts';

/** A running thread, as its owner sees it. */
export interface ThreadHandle {
  post(message: ToThread | FailMessage): void;
  /** Ends it at once, whatever it is doing. */
  terminate(): Promise<void>;
}

export interface ThreadEvents {
  readonly onMessage: (message: FromThread) => void;
  /** It is no more. Once. */
  readonly onExit: (cause: string) => void;
}

export type SpawnThread = (setup: ThreadSetup, events: ThreadEvents) => ThreadHandle;

/** A worker thread of this process. */
export const spawnWorker: SpawnThread = (setup, { onMessage, onExit }) => {
  const entry = new URL(import.meta.url.endsWith('.ts') ? './entry.ts' : './entry.js', import.meta.url);
  const worker = new Worker(entry, {
    workerData: setup,
    name: `data ${setup.number}`,
    // The watchdog ends it first: where V8 finds the limit itself, it may end the whole process.
    resourceLimits: { maxOldGenerationSizeMb: 2 * setup.heapMb + 64 },
  });
  let cause: string | undefined;
  worker.on('message', onMessage);
  worker.on('error', (error: unknown) => {
    cause = error instanceof Error ? (error.stack ?? error.message) : String(error);
  });
  worker.on('exit', (code) => {
    onExit(cause ?? `it ended with code ${code}`);
  });
  return {
    post: (message) => {
      worker.postMessage(message);
    },
    terminate: async () => {
      await worker.terminate();
    },
  };
};
