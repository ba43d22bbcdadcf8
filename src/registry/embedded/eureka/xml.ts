/**
 * Eureka's XML, out of the same values as its JSON: keys that begin with `@` are attributes, `$` is the text, and a list
 * is its elements one after the other. What XML cannot name is left out, what it cannot hold is replaced.
 */
export function xmlElement(name: string, value: unknown): string {
  if (!XML_NAME.test(name)) return '';
  if (Array.isArray(value)) return value.map((each: unknown) => xmlElement(name, each)).join('');
  if (typeof value !== 'object' || value === null) return `<${name}>${textOf(value)}</${name}>`;
  const entries = Object.entries(value);
  const attributes = entries
    .filter(([key]) => key.startsWith('@') && XML_NAME.test(key.slice(1)))
    .map(([key, each]) => ` ${key.slice(1)}="${textOf(each)}"`)
    .join('');
  const content = entries
    .filter(([key]) => !key.startsWith('@'))
    .map(([key, each]: [string, unknown]) => (key === '$' ? textOf(each) : xmlElement(key, each)))
    .join('');
  return `<${name}${attributes}>${content}</${name}>`;
}

const XML_NAME = /^[A-Za-z_][A-Za-z0-9._-]{0,127}$/;

/** XML 1.0, section 2.2: what is no Char cannot even be escaped. */
const NO_CHAR = /[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]/g;
const ESCAPES: ReadonlyMap<string, string> = new Map([
  ['&', '&amp;'],
  ['<', '&lt;'],
  ['>', '&gt;'],
  ['"', '&quot;'],
  ['\r', '&#13;'],
  ['\n', '&#10;'],
  ['\t', '&#9;'],
]);

function textOf(value: unknown): string {
  const text = typeof value === 'string' ? value : String(value);
  return text
    .toWellFormed()
    .replaceAll(NO_CHAR, '\ufffd')
    .replaceAll(/[&<>"\r\n\t]/g, (character) => ESCAPES.get(character) ?? character);
}
