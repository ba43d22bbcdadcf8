// Loaded into a gateway before everything else (--expose-gc --import): at USR2 each of its threads collects its garbage
// and says what it still holds. Prints {"control":BYTES,"data":[BYTES,…]}. BENCH_THREADS says how many will answer.
import { BroadcastChannel, isMainThread, threadId } from 'node:worker_threads';
import { getHeapStatistics } from 'node:v8';

type Message = 'weigh' | { readonly thread: number; readonly bytes: number };

/** Heap and what hangs on it outside of it (buffers), of the calling thread. */
function weigh(): number {
  for (let turn = 0; turn < 3; turn += 1) globalThis.gc?.();
  const { used_heap_size: heap, external_memory: external } = getHeapStatistics();
  return heap + external;
}

const channel = new BroadcastChannel('bench-weigh');
channel.unref();
const threads = Number(process.env['BENCH_THREADS']);
const answers = new Map<number, number>();

channel.onmessage = (event: unknown): void => {
  const { data } = event as { data: Message };
  if (data === 'weigh') {
    if (!isMainThread) channel.postMessage({ thread: threadId, bytes: weigh() } satisfies Message);
    return;
  }
  if (!isMainThread) return;
  answers.set(data.thread, data.bytes);
  if (answers.size < threads) return;
  process.stdout.write(`${JSON.stringify({ control: weigh(), data: [...answers.values()] })}\n`);
  answers.clear();
};

if (isMainThread) process.on('SIGUSR2', () => channel.postMessage('weigh' satisfies Message));
