import { z } from 'zod';
import { NAME_RULE, isName } from '../../../core/names.ts';
import { formatDuration, parseDuration } from '../../../core/units.ts';
import type { FieldError } from './problem.ts';

const MAX_ERRORS = 20;
const MAX_FIELD_CHARACTERS = 100;
const CONTROL = /\p{Cc}/u;

/** Says `is missing` where nothing was given, and else what is wanted. */
export const wants =
  (rule: string) =>
  (issue: { readonly input?: unknown }): string =>
    issue.input === undefined ? 'is missing' : `must be ${rule}`;

export const name = () => z.string({ error: wants(NAME_RULE) }).refine(isName, `must be ${NAME_RULE}`);

/** One line of text. */
export function label(maxCharacters = 128) {
  const rule = `text of 1 to ${maxCharacters} characters, without control characters`;
  return z
    .string({ error: wants(rule) })
    .refine((text) => text.length > 0 && text.length <= maxCharacters && !CONTROL.test(text), `must be ${rule}`);
}

export function whole(min: number, max: number) {
  const rule = `a whole number from ${min} to ${max}`;
  return z
    .number({ error: wants(rule) })
    .refine((value) => Number.isInteger(value) && value >= min && value <= max, `must be ${rule}`);
}

export const flag = () => z.boolean({ error: wants('true or false') });

/** `"30s"`, or a number of seconds; in milliseconds. */
export function duration(minMs: number, maxMs: number) {
  const rule = `a duration such as "30s", or a number of seconds, from ${formatDuration(minMs)} to ${formatDuration(maxMs)}`;
  return z.union([z.string(), z.number()], { error: wants(rule) }).transform((value, context) => {
    const valueMs = typeof value === 'number' ? value * 1000 : parseDuration(value);
    if (valueMs !== undefined && valueMs >= minMs && valueMs <= maxMs) return valueMs;
    context.addIssue({ code: 'custom', message: `must be ${rule}` });
    return z.NEVER;
  });
}

/** An object of texts as pairs, for keys from outside must not become keys of an object here. */
export function pairs(rule: string) {
  return z.unknown().transform((value, context): [string, string][] => {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) {
      context.addIssue({ code: 'custom', message: `must be ${rule}` });
      return z.NEVER;
    }
    return Object.entries(value).flatMap(([key, text]: [string, unknown]): [string, string][] => {
      if (typeof text === 'string') return [[key, text]];
      context.addIssue({ code: 'custom', path: [key], message: 'must be text' });
      return [];
    });
  });
}

/** An object in which every other key is a mistake. */
export function fields<T extends z.core.$ZodShape>(shape: T) {
  return z.strictObject(shape, {
    error: (issue) =>
      issue.code === 'unrecognized_keys'
        ? `is not known; known are ${Object.keys(shape).join(', ')}`
        : 'must be an object',
  });
}

/** The issues as errors that name the field; the first twenty, as a hostile body can hold thousands. */
export function fieldErrors(issues: readonly z.core.$ZodIssue[], root: string): FieldError[] {
  const errors = issues.flatMap((issue) => {
    const keys = issue.code === 'unrecognized_keys' ? issue.keys : [undefined];
    return keys.map((key) => {
      const path = [...issue.path.map(String), ...(key === undefined ? [] : [key])];
      const field = path.length === 0 ? root : path.join('.');
      return { field: field.slice(0, MAX_FIELD_CHARACTERS), message: issue.message };
    });
  });
  return errors.slice(0, MAX_ERRORS);
}
