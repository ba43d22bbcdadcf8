import type { z } from 'zod';
import { closest } from './closest.ts';
import type { Path } from './yaml-source.ts';

/** Something wrong with a value or with a key, before it is known where in the file that stands. */
export interface Complaint {
  readonly path: Path;
  readonly at: 'key' | 'value';
  readonly message: string;
  /** Text was wanted, and something else was there. */
  readonly wantsText: boolean;
}

type Validated<T> = { readonly value: T } | { readonly complaints: readonly Complaint[] };

/** Validates `input`, whose place in the file is `base`. */
export function validate<T extends z.ZodType>(schema: T, input: unknown, base: Path): Validated<z.output<T>> {
  const parsed = schema.safeParse(input, { error: wordOf });
  if (parsed.success) return { value: parsed.data };
  return { complaints: parsed.error.issues.flatMap((issue) => complaintsOf(issue, base)) };
}

/** For what the schema gives no words of its own. Says nothing of the value: it may be a secret. */
function wordOf(issue: z.core.$ZodRawIssue): string {
  if (issue.input === undefined) return 'is missing';
  switch (issue.code) {
    case 'invalid_type':
      return `wants ${WORDS.get(issue.expected) ?? issue.expected}`;
    case 'invalid_value':
      return oneOf(issue.values.map(String), issue.input);
    case 'invalid_union':
      return typeOf(issue);
    case 'too_big':
    case 'too_small':
    case 'invalid_format':
    case 'not_multiple_of':
    case 'unrecognized_keys':
    case 'invalid_key':
    case 'invalid_element':
    case 'custom':
      return 'is not valid here';
  }
}

const WORDS: ReadonlyMap<string, string> = new Map([
  ['string', 'text'],
  ['int', 'a whole number'],
  ['number', 'a number'],
  ['boolean', 'true or false'],
  ['array', 'a list, each entry behind a dash: "- …"'],
  ['record', 'keys and values, indented below it'],
  ['object', 'keys and values, indented below it'],
]);

const NO_WORDS = 'is none of what is possible here';

/** A union told apart by one key, mostly `type`. */
function typeOf({ discriminator, options, input }: z.core.$ZodRawIssue<z.core.$ZodIssueInvalidUnion>): string {
  if (discriminator === undefined || !Array.isArray(options)) return NO_WORDS;
  const given: unknown = typeof input === 'object' && input !== null ? Reflect.get(input, discriminator) : undefined;
  const words = oneOf(options.map(String), given);
  return given === undefined ? `is missing; ${words}` : words;
}

function oneOf(words: readonly string[], input: unknown): string {
  const close = typeof input === 'string' ? closest(input, words) : undefined;
  return `wants ${words.length === 1 ? '' : 'one of '}${words.join(', ')}${close === undefined ? '' : `; did you mean ${close}?`}`;
}

function complaintsOf(issue: z.core.$ZodIssue, base: Path): readonly Complaint[] {
  const path: Path = [...base, ...issue.path.map((part) => (typeof part === 'number' ? part : String(part)))];
  const one = (part: Partial<Complaint>): Complaint[] => [
    { path, at: 'value', message: issue.message, wantsText: false, ...part },
  ];
  if (issue.code === 'unrecognized_keys') {
    const messages = issue.message.split('\n');
    return issue.keys.flatMap((key, index) =>
      one({ path: [...path, key], at: 'key', message: messages[index] ?? 'unknown key' }),
    );
  }
  if (issue.code === 'invalid_key') return one({ at: 'key', message: issue.issues[0]?.message ?? issue.message });
  if (issue.code === 'invalid_type') return one({ wantsText: issue.expected === 'string' });
  if (issue.code !== 'invalid_union' || issue.errors.length === 0) return one({});
  const wantsText = issue.errors.flat().some((each) => each.code === 'invalid_type' && each.expected === 'string');
  // Where no alternative fits, the last one stands for all, unless the schema has words for the whole.
  const branch = meantBranch(issue.errors) ?? (issue.message === NO_WORDS ? issue.errors.at(-1) : undefined);
  return branch === undefined ? one({ wantsText }) : branch.flatMap((each) => complaintsOf(each, path));
}

/**
 * Of the issues of each alternative, those of the one that was meant: whose kind of value was there. undefined where
 * none is, so that the alternatives together must be named.
 */
function meantBranch(branches: readonly z.core.$ZodIssue[][]): z.core.$ZodIssue[] | undefined {
  const isOtherKind = (issue: z.core.$ZodIssue): boolean => issue.code === 'invalid_type' && issue.path.length === 0;
  return branches.find(
    (issues) =>
      !issues.some(isOtherKind) && !issues.some((issue) => issue.code === 'invalid_value' && issue.path.length === 0),
  );
}
