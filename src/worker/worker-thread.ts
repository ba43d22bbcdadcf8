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

/** Room for the heap of a thread: beyond it the thread ends, and not the process. */
const HEAP_MB = 1024;

/** A worker thread of this process. */
export const spawnWorker: SpawnThread = (setup, { onMessage, onExit }) => {
  const entry = new URL(import.meta.url.endsWith('.ts') ? './entry.ts' : './entry.js', import.meta.url);
  const worker = new Worker(entry, {
    workerData: setup,
    name: `data ${setup.number}`,
    resourceLimits: { maxOldGenerationSizeMb: HEAP_MB },
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
