import { readdirSync, readFileSync } from 'node:fs';

export interface Input {
  readonly name: string;
  /** A character for each byte. */
  readonly text: string;
}

const ESCAPES: Readonly<Record<string, string>> = { r: '\r', n: '\n', t: '\t', '0': '\0', '\\': '\\' };

function unescape(line: string): string {
  return line.replace(/\\(?:x([0-9a-f]{2})|(.))/g, (whole, hex: string | undefined, letter: string | undefined) => {
    if (hex !== undefined) return String.fromCharCode(Number.parseInt(hex, 16));
    const meant = ESCAPES[letter ?? ''];
    if (meant === undefined) throw new Error(`${whole} means nothing in a corpus`);
    return meant;
  });
}

/** As a corpus has it, on one line. */
export function escape(text: string): string {
  return text.replace(/[^\x20-\x5b\x5d-\x7e]/g, (char) => {
    const letter = Object.keys(ESCAPES).find((each) => ESCAPES[each] === char);
    return letter === undefined ? `\\x${char.charCodeAt(0).toString(16).padStart(2, '0')}` : `\\${letter}`;
  });
}

/** All inputs under `corpus/<kind>`, in the order of their files. */
export function readCorpus(kind: 'requests' | 'responses'): Input[] {
  const folder = new URL(`./corpus/${kind}/`, import.meta.url);
  const inputs: { name: string; text: string }[] = [];
  for (const file of readdirSync(folder).sort()) {
    for (const line of readFileSync(new URL(file, folder), 'utf8').split('\n')) {
      if (line.startsWith('== ')) inputs.push({ name: `${kind}/${file}: ${line.slice(3)}`, text: '' });
      else if (line !== '') inputs.at(-1)!.text += unescape(line);
    }
  }
  return inputs;
}
