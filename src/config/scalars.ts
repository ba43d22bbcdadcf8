import { z } from 'zod';
import { isName, NAME_RULE } from '../core/names.ts';
import { DURATION_RULE, formatDuration, parseDuration, parseSize, SIZE_RULE } from '../core/units.ts';

/**
 * Every key of the file is made of these. Each takes the sentence that operators read about the key, and carries its
 * range in the schema's description, so that editors, the documentation and the error messages agree.
 *
 * No message repeats the value it is about: it may have come from an environment variable that holds a secret.
 */
export interface Range {
  readonly min: string;
  readonly max: string;
}

const describe = (sentence: string, range: string): { description: string } => ({
  description: `${sentence} (${range})`,
});

/** What the exported JSON Schema can say of the texts that core/units.ts reads. */
const DURATION_PATTERN = '^\\d+(\\.\\d+)?(ms|s|m|h)$';
const SIZE_PATTERN = '^\\d+(B|KiB|MiB|GiB)?$';

const REQUIRED = 'is missing';

/** Says `is missing` where nothing was given, and else what is wanted. */
export const wants =
  (rule: string) =>
  (issue: { readonly input?: unknown }): string =>
    issue.input === undefined ? REQUIRED : `wants ${rule}`;

/** A duration, in milliseconds. */
export function duration(sentence: string, { fallback, min, max }: Range & { readonly fallback: string }) {
  const minMs = parseDuration(min) ?? 0;
  const maxMs = parseDuration(max) ?? 0;
  return z
    .string({ error: wants(DURATION_RULE) })
    .transform((text, ctx) => {
      const valueMs = parseDuration(text);
      if (valueMs === undefined) return refuse(ctx, `wants ${DURATION_RULE}`);
      if (valueMs < minMs || valueMs > maxMs) {
        return refuse(ctx, `must be from ${formatDuration(minMs)} to ${formatDuration(maxMs)}`);
      }
      return valueMs;
    })
    .prefault(fallback)
    .meta({ ...describe(sentence, `${min} to ${max}`), pattern: DURATION_PATTERN });
}

/** A size, in bytes. */
export function size(sentence: string, { fallback, min, max }: Range & { readonly fallback: string }) {
  const minBytes = parseSize(min) ?? 0;
  const maxBytes = parseSize(max) ?? 0;
  return z
    .union([z.string(), z.int()], { error: wants(SIZE_RULE) })
    .transform((value, ctx) => {
      const bytes = parseSize(String(value));
      if (bytes === undefined) return refuse(ctx, `wants ${SIZE_RULE}`);
      if (bytes < minBytes || bytes > maxBytes) return refuse(ctx, `must be from ${min} to ${max}`);
      return bytes;
    })
    .prefault(fallback)
    .meta({ ...describe(sentence, `${min} to ${max}`), pattern: SIZE_PATTERN });
}

/** A whole number. */
export function count(
  sentence: string,
  limits: { readonly fallback: number; readonly min: number; readonly max: number },
) {
  return wholeNumber(limits)
    .prefault(limits.fallback)
    .meta(describe(sentence, `${limits.min} to ${limits.max}`));
}

export function wholeNumber({ min, max }: { readonly min: number; readonly max: number }) {
  const rule = `must be a whole number from ${min} to ${max}`;
  return z
    .int({ error: wants('a whole number') })
    .min(min, rule)
    .max(max, rule);
}

/** A number, with or without a fraction. */
export function decimal(
  sentence: string,
  { fallback, min, max }: { readonly fallback: number; readonly min: number; readonly max: number },
) {
  const rule = `must be a number from ${min} to ${max}`;
  return z
    .number({ error: wants('a number') })
    .min(min, rule)
    .max(max, rule)
    .prefault(fallback)
    .meta(describe(sentence, `${min} to ${max}`));
}

/** A number that need not be whole. */
export function factor(
  sentence: string,
  { fallback, min, max }: { readonly fallback: number; readonly min: number; readonly max: number },
) {
  const rule = `must be from ${min} to ${max}`;
  return z
    .number({ error: wants('a number') })
    .min(min, rule)
    .max(max, rule)
    .prefault(fallback)
    .meta(describe(sentence, `${min} to ${max}`));
}

const PERCENT = /^(\d{1,3}(?:\.\d+)?) ?%$/;

/** A share such as 0.5 or "50%", as a number from 0 to 1. */
export function share(
  sentence: string,
  { fallback, min, max }: { readonly fallback: number; readonly min: number; readonly max: number },
) {
  return z
    .union([z.number(), z.string()], { error: wants('a share such as 0.5 or 50%') })
    .transform((value, ctx) => {
      const percent = typeof value === 'string' ? PERCENT.exec(value)?.[1] : undefined;
      const amount = typeof value === 'number' ? value : percent === undefined ? undefined : Number(percent) / 100;
      if (amount === undefined) return refuse(ctx, 'wants a share such as 0.5 or 50%');
      if (amount < min || amount > max) return refuse(ctx, `must be from ${min} to ${max}`);
      return amount;
    })
    .prefault(fallback)
    .meta(describe(sentence, `${min} to ${max}`));
}

export function flag(sentence: string, fallback: boolean) {
  return z
    .boolean({ error: wants('true or false') })
    .prefault(fallback)
    .meta({ description: sentence });
}

/** One of a few words. */
export function choice<const T extends readonly [string, ...string[]]>(
  sentence: string,
  words: T,
  fallback: NoInfer<T[number]>,
) {
  return z
    .enum(words)
    .prefault(() => fallback)
    .meta({ description: sentence, default: fallback });
}

/** Text of at least one character, without control characters. */
export function text(rule = 'text') {
  return z
    .string({ error: wants(rule) })
    .min(1, `must not be empty; wants ${rule}`)
    .max(4096, 'is longer than 4096 characters')
    .regex(/^[^\x00-\x1f\x7f-\x9f]*$/, 'must not contain control characters');
}

/** Text that may be left out. */
export function optionalText(sentence: string, rule?: string) {
  return optional(text(rule), sentence);
}

/** A value that may be left out; the key is always there in the result. */
export function optional<T extends z.ZodType>(schema: T, sentence: string) {
  return schema
    .optional()
    .transform((value) => value)
    .meta({ description: sentence });
}

/** What travels in a header to prove who we are. Never printed. */
export function secret(sentence: string) {
  return optional(
    z
      .string({ error: wants('text') })
      .max(4096, 'is longer than 4096 characters')
      .regex(/^[\x21-\x7e]+$/, 'must be printable ASCII without spaces: it travels in a header'),
    sentence,
  );
}

export function name(sentence: string) {
  return nameText().meta({ description: sentence });
}

/** A service name, or an instance id. */
export function nameText() {
  return z.string({ error: wants(`a name: ${NAME_RULE}`) }).refine(isName, `wants a name: ${NAME_RULE}`);
}

/** A list of at least one, or that one alone. */
export function oneOrMore<T extends z.ZodType>(item: T) {
  return listOrOne(z.array(item).min(1, 'needs at least one entry'), item);
}

/** A list, or its only entry alone. */
export function anyNumber<T extends z.ZodType>(item: T) {
  return listOrOne(z.array(item), item);
}

function listOrOne<T extends z.ZodType>(list: z.ZodArray<T>, item: T) {
  // An entry may be a pair itself, once it is read: its output does not tell it from a list.
  return z.union([list, item.transform((value): z.output<T>[] => [value])]);
}

/** Reports and gives up on the value. */
export function refuse(ctx: z.core.$RefinementCtx, message: string): never {
  ctx.issues.push({ code: 'custom', message, input: undefined });
  return z.NEVER;
}
