/** Service names and instance ids: what may appear in a path, a label, a file name and a host name alike. */
const NAME = /^[A-Za-z0-9._-]{1,128}$/;
const FORBIDDEN: ReadonlySet<string> = new Set(['.', '..', '__proto__', 'constructor', 'prototype']);

export const NAME_RULE = '1 to 128 characters of A-Z a-z 0-9 . _ - (and not ".", "..", "__proto__", "constructor")';

export function isName(text: string): boolean {
  return NAME.test(text) && !FORBIDDEN.has(text);
}
