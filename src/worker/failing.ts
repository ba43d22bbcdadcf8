import { exit } from 'node:process';

export type Failing = 'throw' | 'exit' | 'loop' | MemoryPattern;

/** Ways to take memory without end that V8 takes very differently (docs/threads.md). */
export type MemoryPattern =
  'trickle' | 'objects' | 'strings' | 'growing-array' | 'giant-array' | 'map' | 'buffers' | 'buffers-loop';

/** What a defect would do to a thread. For tests of what comes after. */
export function failAs(how: Failing): void {
  switch (how) {
    case 'throw':
      setImmediate(() => {
        throw new Error('a test wants this thread to throw');
      });
      break;
    case 'exit':
      exit(3);
      break;
    case 'loop':
      for (;;);
    case 'trickle':
    case 'objects':
    case 'strings':
    case 'growing-array':
    case 'giant-array':
    case 'map':
    case 'buffers':
    case 'buffers-loop':
      takeMemory(how);
  }
}

/** 240 MB at once; V8 makes much longer ones differently. */
const GIANT = 30_000_000;
const BUFFER_BYTES = 2 ** 20;

function takeMemory(how: MemoryPattern): void {
  const kept: unknown[] = [];
  switch (how) {
    // Others run in between, as with a leak.
    case 'trickle':
      setInterval(() => {
        for (let count = 0; count < 10_000; count++) kept.push({ number: kept.length });
      }, 1);
      break;
    case 'buffers':
      setInterval(() => {
        for (let count = 0; count < 8; count++) kept.push(Buffer.alloc(BUFFER_BYTES, 1));
      }, 5);
      break;
    // Nobody runs in between.
    case 'objects':
      for (let last: unknown; ;) last = { last };
    case 'strings':
      for (;;) kept.push(`${kept.length} is a number`);
    case 'growing-array':
      for (const numbers: number[] = []; ;) numbers.push(0.5);
    case 'giant-array':
      kept.push(new Array<number>(GIANT).fill(0.5));
      for (;;);
    case 'map':
      for (const numbers = new Map<number, number>(); ;) numbers.set(numbers.size, 1);
    case 'buffers-loop':
      for (;;) kept.push(Buffer.alloc(BUFFER_BYTES, 1));
  }
}
