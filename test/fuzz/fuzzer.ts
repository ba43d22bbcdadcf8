import { type Random, seededRandom } from '../../src/core/random.ts';
import { ACCEPTED, REFUSED_BODIES, REFUSED_HEADS } from '../http1/request-vectors.ts';
import { ACCEPTED_HEADS, REFUSED_RESPONSES } from '../http1/response-vectors.ts';
import { escape, readCorpus } from './corpus.ts';
import { requests, response } from './generate.ts';
import { type Breach, type Noted, requestBreach, responseBreach } from './laws.ts';
import { MemoryGateway } from './memory-gateway.ts';
import { mutate } from './mutate.ts';
import { answerBreach, pathBreach } from './path-laws.ts';
import { below, chance, oneOf } from './random.ts';
import { Simulation } from './simulation.ts';

export const LAWS = ['requests', 'responses', 'path', 'answers', 'simulation'] as const;
export type Law = (typeof LAWS)[number];

export interface Finding {
  readonly law: Law;
  /** Replays this case alone. */
  readonly seed: number;
  readonly breach: string;
  /** The smallest input found that breaks the same law; a character for each byte. */
  readonly text: string;
}

export interface FuzzOptions {
  readonly seed: number;
  /** So many cases in any case, however slow the machine is; then on until the time is over. */
  readonly atLeast: number;
  readonly seconds: number;
  readonly onProgress?: (cases: number) => void;
}

export interface FuzzResult {
  readonly cases: Readonly<Record<Law, number>>;
  /** How often each known difference to Node was met. */
  readonly differences: ReadonlyMap<string, number>;
  readonly finding: Finding | undefined;
}

const REQUESTS = [
  ...readCorpus('requests').map(({ text }) => text),
  ...[...ACCEPTED, ...REFUSED_HEADS, ...REFUSED_BODIES].map(({ bytes }) =>
    bytes.replaceAll('a.example', 'web.localhost'),
  ),
].filter(({ length }) => length < 9000);
const RESPONSES = [
  ...readCorpus('responses').map(({ text }) => text),
  ...ACCEPTED_HEADS.map(({ bytes }) => bytes),
  ...REFUSED_RESPONSES.map(([, bytes]) => bytes),
].filter(({ length }) => length < 9000);

/** A gateway serves so many cases before a new one takes over, so that what it remembers stays small. */
const CASES_PER_GATEWAY = 500;
const SHRINKING_STEPS = 2000;

interface Case {
  readonly law: Law;
  readonly text: string;
  readonly breach: (text: string, noted?: Noted) => Promise<Breach>;
}

class Fuzzer {
  #gateway: MemoryGateway | undefined;
  #served = 0;

  async #gatewayFor(): Promise<MemoryGateway> {
    if (this.#gateway && ++this.#served < CASES_PER_GATEWAY) return this.#gateway;
    this.stop();
    this.#served = 0;
    return (this.#gateway = await MemoryGateway.start());
  }

  stop(): void {
    this.#gateway?.stop();
    this.#gateway = undefined;
  }

  /** The case that this seed stands for. Whatever is left to chance when it is judged begins with the same seed. */
  case(seed: number): Case {
    const random = seededRandom(seed);
    const judging = (): Random => seededRandom(seed ^ 0x5bd1e995);
    const kind = random();
    if (kind < 0.5) {
      const text = this.#input(random, requests(random), REQUESTS);
      return { law: 'requests', text, breach: (changed, noted) => requestBreach(judging(), changed, noted) };
    }
    if (kind < 0.7) {
      const text = this.#input(random, requests(random), REQUESTS);
      return { law: 'path', text, breach: async (changed) => pathBreach(judging(), await this.#gatewayFor(), changed) };
    }
    if (kind < 0.85) {
      const text = this.#input(random, response(random), RESPONSES);
      const method = chance(random, 0.1) ? 'HEAD' : 'GET';
      const closed = chance(random, 0.7);
      return {
        law: 'responses',
        text,
        breach: (changed, noted) => responseBreach(judging(), changed, method, closed, noted),
      };
    }
    if (kind < 0.995) {
      const text = this.#input(random, response(random), RESPONSES);
      return {
        law: 'answers',
        text,
        breach: async (changed) => answerBreach(judging(), await this.#gatewayFor(), changed),
      };
    }
    return { law: 'simulation', text: '', breach: () => simulate(seed) };
  }

  #input(random: Random, generated: string, corpus: readonly string[]): string {
    const base = chance(random, 0.6) ? generated : oneOf(random, corpus);
    return chance(random, 0.7) ? mutate(random, base, corpus) : base;
  }
}

async function simulate(seed: number): Promise<Breach> {
  await new Simulation(seed).run(60);
  return undefined;
}

/** An exception out of the gateway breaks every law. */
async function judged(found: Case, text: string, noted?: Noted): Promise<Breach> {
  try {
    return await found.breach(text, noted);
  } catch (error) {
    return error instanceof Error ? `${error.message} ${error.stack?.split('\n')[1]?.trim() ?? ''}` : String(error);
  }
}

/** Takes parts away for as long as the law stays broken. */
async function shrink(found: Case): Promise<string> {
  let text = found.text;
  let steps = 0;
  for (let size = text.length >> 1; size >= 1; size = Math.min(size >> 1, text.length)) {
    for (let at = 0; at + size <= text.length && steps++ < SHRINKING_STEPS;) {
      const smaller = text.slice(0, at) + text.slice(at + size);
      if ((await judged(found, smaller)) === undefined) at += size;
      else text = smaller;
    }
  }
  return text;
}

/** Tries cases from `seed` on, one seed each, until one breaks a law or enough is done. The first `atLeast` are always the same. */
export async function fuzz(options: FuzzOptions): Promise<FuzzResult> {
  const fuzzer = new Fuzzer();
  const cases: Record<Law, number> = { requests: 0, responses: 0, path: 0, answers: 0, simulation: 0 };
  const differences = new Map<string, number>();
  const noted = (name: string): void => {
    differences.set(name, (differences.get(name) ?? 0) + 1);
  };
  const endMs = performance.now() + options.seconds * 1000;
  try {
    for (let i = 0; i < options.atLeast || performance.now() < endMs; i++) {
      const seed = (options.seed + i) >>> 0;
      const found = fuzzer.case(seed);
      cases[found.law]++;
      const breach = await judged(found, found.text, noted);
      if (breach !== undefined) {
        const text = await shrink(found);
        return {
          cases,
          differences,
          finding: { law: found.law, seed, breach: (await judged(found, text)) ?? breach, text },
        };
      }
      options.onProgress?.(i + 1);
    }
  } finally {
    fuzzer.stop();
  }
  return { cases, differences, finding: undefined };
}

/** A finding as people read it. */
export function report({ law, seed, breach, text }: Finding): string {
  const all = escape(text);
  const input = all.length > 2000 ? `${all.slice(0, 2000)}… (${text.length} bytes)` : all;
  return `the law of ${law} is broken: ${breach}\n  ${input}\n  again: npm run fuzz -- --seed ${seed} --cases 1`;
}

/** A seed that nobody has chosen. */
export function freshSeed(random: Random): number {
  return below(random, 0x1_0000_0000);
}
