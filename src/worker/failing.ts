import { exit } from 'node:process';

export type Failing = 'throw' | 'exit' | 'loop' | 'memory';

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
    case 'memory': {
      const kept: unknown[] = [];
      setInterval(() => {
        for (let count = 0; count < 10_000; count++) kept.push({ number: kept.length });
      }, 1);
      break;
    }
  }
}
