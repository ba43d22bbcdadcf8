import type { Clock } from '../core/clock.ts';
import type { Buckets } from './buckets.ts';
import type { Series } from './series.ts';

/*
 * The text format of Prometheus (version 0.0.4) for families with a sample per service or per instance. prom-client
 * builds an object and a hash for every sample and formats a registry in one go: with ten thousand instances that
 * stops the event loop for longer than a request may take. Here a sample is one string, and the writer can rest.
 */

const NEEDS_ESCAPE = /[\\"\n]/;
const CHUNK_CHARS = 65_536;

/** `name="value"` with the value escaped. */
export function label(name: string, value: string): string {
  if (!NEEDS_ESCAPE.test(value)) return `${name}="${value}"`;
  return `${name}="${value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')}"`;
}

/**
 * The same text as one piece. What is put together of strings is a tree of them, walked anew by every line that it is part of
 * when lines are encoded; to ask for a character makes the engine lay it out once.
 */
export function flat(text: string): string {
  text.charCodeAt(0);
  return text;
}

function numberText(value: number): string {
  if (Number.isFinite(value)) return String(value);
  if (Number.isNaN(value)) return 'NaN';
  return value > 0 ? '+Inf' : '-Inf';
}

/** The samples of one family, kept together as the format demands. */
export class Family {
  readonly #name: string;
  readonly #open: string;
  readonly #chunks: Uint8Array[] = [];
  #text: string;

  constructor(series: Series) {
    this.#name = series.name;
    this.#open = flat(`${series.name}{`);
    this.#text = `# HELP ${series.name} ${series.help}\n# TYPE ${series.name} ${series.type}\n`;
  }

  /** `labels` are joined by commas, without braces; empty where there are none. */
  sample(labels: string, value: number): void {
    const rest = numberText(value) + '\n';
    this.#append(labels === '' ? `${this.#name} ${rest}` : this.#open + labels + '} ' + rest);
  }

  /** As `sample`, unless the value is 0: a counter appears when it has counted something. */
  counted(labels: string, value: number): void {
    if (value !== 0) this.sample(labels, value);
  }

  /** `countOf` tells the samples in one bucket alone, not in all up to it. */
  histogram(labels: string, buckets: Buckets, countOf: (bucket: number) => number, sumMs: number): void {
    const before = labels === '' ? '' : `${labels},`;
    const after = labels === '' ? '' : `{${labels}}`;
    const head = flat(`${this.#name}_bucket{${before}`);
    let total = 0;
    let text = '';
    for (let bucket = 0; bucket < buckets.size; bucket++) {
      total += countOf(bucket);
      text += head + (buckets.labels[bucket] ?? '') + `${total}\n`;
    }
    this.#append(`${text}${this.#name}_sum${after} ${sumMs / 1000}\n${this.#name}_count${after} ${total}\n`);
  }

  chunks(): readonly Uint8Array[] {
    return [...this.#chunks, Buffer.from(this.#text)];
  }

  #append(text: string): void {
    this.#text += text;
    if (this.#text.length < CHUNK_CHARS) return;
    // Encoded while the writer's slice lasts: a long chain of strings left for the end would be flattened at once.
    this.#chunks.push(Buffer.from(this.#text));
    this.#text = '';
  }
}

/** Splits long work into slices, so that requests get their turn between them. */
export class Slices {
  readonly #clock: Clock;
  readonly #sliceMs: number;
  #beganMs: number;

  constructor(clock: Clock, sliceMs: number) {
    this.#clock = clock;
    this.#sliceMs = sliceMs;
    this.#beganMs = clock.now();
  }

  /** Whether the slice is used up: time to await `rest`. */
  get spent(): boolean {
    return this.#clock.now() - this.#beganMs >= this.#sliceMs;
  }

  async rest(): Promise<void> {
    await new Promise((resolve) => setImmediate(resolve));
    this.#beganMs = this.#clock.now();
  }
}
