import type { FieldError } from '../api/problem.ts';

/** What is wrong with a request, and what it asks for that there is not. */
export interface Faults {
  readonly invalid: FieldError[];
  readonly unsupported: FieldError[];
}

const CONTROL = /\p{Cc}/u;

/**
 * An object of a request as Consul itself reads it: keys in any case, with or without underscores
 * (`DeregisterCriticalServiceAfter`, `deregister_critical_service_after`), and what is empty, zero or false is not there.
 * Every key has to be asked for: `end` reports those that were not.
 */
export class Given {
  readonly #path: string;
  readonly #faults: Faults;
  readonly #values = new Map<string, { readonly key: string; readonly value: unknown }>();

  constructor(value: object, path: string, faults: Faults) {
    this.#path = path;
    this.#faults = faults;
    for (const [key, each] of Object.entries(value)) {
      if (!isZero(each)) this.#values.set(normalize(key), { key, value: each });
    }
  }

  get isEmpty(): boolean {
    return this.#values.size === 0;
  }

  /** So many have been reported so far. */
  get faults(): number {
    return this.#faults.invalid.length;
  }

  take(key: string): unknown {
    const found = this.#values.get(normalize(key));
    this.#values.delete(normalize(key));
    return found?.value;
  }

  /** One line. */
  text(key: string, maxCharacters: number): string | undefined {
    const value = this.take(key);
    if (value === undefined) return undefined;
    if (typeof value === 'string' && value.length <= maxCharacters && !CONTROL.test(value)) return value;
    this.invalid(key, `must be printable text of at most ${maxCharacters} characters`);
    return undefined;
  }

  whole(key: string, min: number, max: number): number | undefined {
    const value = this.take(key);
    if (value === undefined) return undefined;
    if (typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max) return value;
    this.invalid(key, `must be a whole number from ${min} to ${max}`);
    return undefined;
  }

  flag(key: string): boolean {
    const value = this.take(key);
    if (value !== undefined && value !== true) this.invalid(key, 'must be true or false');
    return value === true;
  }

  /** Go's notation (`1m30s`), or nanoseconds; in milliseconds. */
  duration(key: string, minMs: number, maxMs: number): number | undefined {
    const value = this.take(key);
    if (value === undefined) return undefined;
    const valueMs =
      typeof value === 'number' ? value / 1e6 : typeof value === 'string' ? parseGoDuration(value) : undefined;
    // `0s` is how some clients leave it out.
    if (valueMs === 0) return undefined;
    if (valueMs !== undefined && valueMs >= minMs && valueMs <= maxMs) return valueMs;
    this.invalid(key, `must be a duration such as "10s", from ${minMs}ms to ${maxMs}ms`);
    return undefined;
  }

  /** An object of texts. */
  texts(key: string): ReadonlyMap<string, string> {
    const value = this.take(key);
    if (value === undefined) return new Map();
    const entries: [string, unknown][] = isPlain(value) ? Object.entries(value) : [];
    const texts = entries.filter(
      (pair): pair is [string, string] => typeof pair[1] === 'string' && pair[0] !== '__proto__',
    );
    if (!isPlain(value) || texts.length < entries.length) this.invalid(key, 'must be an object of texts');
    return new Map(texts);
  }

  /** An object within this one; undefined where there is none, or nothing in it. */
  object(key: string): Given | undefined {
    const value = this.take(key);
    if (value === undefined) return undefined;
    if (!isPlain(value)) {
      this.invalid(key, 'must be an object');
      return undefined;
    }
    const inner = new Given(value, this.#field(key), this.#faults);
    return inner.isEmpty ? undefined : inner;
  }

  /** Objects in a list; nothings in it are left out. */
  objects(key: string, limit: number): readonly Given[] {
    const value = this.take(key);
    if (value === undefined) return [];
    if (!Array.isArray(value) || value.length > limit) {
      this.invalid(key, `must be a list of at most ${limit} objects`);
      return [];
    }
    return value.flatMap((each: unknown, at) => {
      if (isZero(each)) return [];
      if (isPlain(each)) return [new Given(each, `${this.#field(key)}.${at}`, this.#faults)];
      this.invalid(key, 'must be a list of objects');
      return [];
    });
  }

  invalid(key: string, message: string): void {
    this.#faults.invalid.push({ field: this.#field(key), message });
  }

  /** Reports the keys, where they are given, as something that there is not. */
  refuse(keys: readonly string[], why: string): void {
    for (const key of keys) {
      // Clients in typed languages send the whole of a structure, empty.
      if (!isEmptyAllThrough(this.take(key))) this.unsupported(key, why);
    }
  }

  unsupported(key: string, why: string): void {
    this.#faults.unsupported.push({ field: this.#field(key), message: why });
  }

  /** Reports what was not asked for. */
  end(): void {
    for (const { key } of this.#values.values()) this.invalid(key.slice(0, 100), 'is not known');
  }

  #field(key: string): string {
    return this.#path === '' ? key : `${this.#path}.${key}`;
  }
}

const UNIT_MS: ReadonlyMap<string, number> = new Map([
  ['ns', 1e-6],
  ['us', 1e-3],
  ['µs', 1e-3],
  ['ms', 1],
  ['s', 1000],
  ['m', 60_000],
  ['h', 3_600_000],
]);

/** Milliseconds of what Go's `time.ParseDuration` takes, without a sign. Undefined where the text is none. */
export function parseGoDuration(text: string): number | undefined {
  if (text === '0') return 0;
  if (text.length > 64 || !/^(?:\d+(?:\.\d*)?(?:ns|us|µs|ms|s|m|h))+$/.test(text)) return undefined;
  let totalMs = 0;
  for (const [, number = '', unit = ''] of text.matchAll(/(\d+(?:\.\d*)?)(ns|us|µs|ms|s|m|h)/g)) {
    totalMs += Number(number) * (UNIT_MS.get(unit) ?? Number.NaN);
  }
  return totalMs;
}

function normalize(key: string): string {
  return key.replaceAll('_', '').toLowerCase();
}

function isPlain(value: unknown): value is object {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isZero(value: unknown): boolean {
  if (value === undefined || value === null || value === '' || value === false || value === 0) return true;
  return typeof value === 'object' && Object.keys(value).length === 0;
}

const MAX_DEPTH = 8;

function isEmptyAllThrough(value: unknown, depth = 0): boolean {
  if (isZero(value)) return true;
  if (typeof value !== 'object' || value === null || depth === MAX_DEPTH) return false;
  return Object.values(value).every((each: unknown) => isEmptyAllThrough(each, depth + 1));
}
