import type { VirtualTime } from './virtual-clock.ts';

const KEPT = 120;

/** The last events of a run; put into words only where somebody reads them. */
export class Trace {
  readonly #time: VirtualTime;
  readonly #atMs: number[] = [];
  readonly #texts: (() => string)[] = [];
  #next = 0;

  constructor(time: VirtualTime) {
    this.#time = time;
  }

  readonly note = (text: () => string): void => {
    const at = this.#next++ % KEPT;
    this.#atMs[at] = this.#time.nowMs;
    this.#texts[at] = text;
  };

  get text(): string {
    const lines: string[] = [];
    for (let number = Math.max(0, this.#next - KEPT); number < this.#next; number++) {
      const at = number % KEPT;
      lines.push(`${this.#atMs[at]!.toFixed(1).padStart(9)} ms  ${this.#texts[at]!()}`);
    }
    return lines.join('\n');
  }
}
