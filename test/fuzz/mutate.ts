import type { Random } from '../../src/core/random.ts';
import { below, chance, oneOf } from './random.ts';

/** Bytes and pieces on which parsers have disagreed. */
const PIECES = [
  '\r\n',
  '\n',
  '\r',
  '\r\r\n',
  '\n\r',
  '\r\n\r\n',
  '\r\n ',
  '\r\n\t',
  ' ',
  '\t',
  '\x0b',
  '\x0c',
  '\0',
  '\x7f',
  '\x80',
  '\xa0',
  '\xff',
  ':',
  ': ',
  ' :',
  ';',
  ',',
  '=',
  '"',
  '\\',
  '#',
  '%00',
  '%0d%0a',
  '+',
  '-',
  '_',
  '0',
  '1',
  '9',
  'a',
  'F',
  '0x',
  '00',
  '/',
  '?',
  '*',
  '@',
  '[',
  ']',
  ' HTTP/1.1',
  ' HTTP/1.0',
  'HTTP/1.1\r\n',
  'Transfer-Encoding: chunked\r\n',
  'transfer-encoding:\tchunked\r\n',
  'Transfer-Encoding: identity\r\n',
  'Transfer-Encoding: chunked, identity\r\n',
  'Transfer-Encoding : chunked\r\n',
  'Transfer_Encoding: chunked\r\n',
  'Content-Length: 0\r\n',
  'Content-Length: 1\r\n',
  'Content-Length: 5\r\n',
  'Content-Length: 44\r\n',
  'Content-Length: 9007199254740993\r\n',
  'Content_Length: 5\r\n',
  'Connection: close\r\n',
  'Connection: upgrade\r\nUpgrade: websocket\r\n',
  'Host: evil.example\r\n',
  'Expect: 100-continue\r\n',
  'X: y\r\n',
  '0\r\n\r\n',
  '5\r\nhello\r\n',
  '5;a="b"\r\nhello\r\n',
  'ffffffff\r\n',
  'GET /smuggled HTTP/1.1\r\nHost: web.localhost\r\n\r\n',
  'POST /smuggled HTTP/1.1\r\nHost: web.localhost\r\nContent-Length: 5\r\n\r\n',
];

function spliced(text: string, at: number, remove: number, insert: string): string {
  return text.slice(0, at) + insert + text.slice(at + remove);
}

/** Where something interesting is: a line end, a colon, a digit; or anywhere. */
function place(random: Random, text: string): number {
  if (chance(random, 0.4)) return below(random, text.length + 1);
  const marks = [...text.matchAll(/\r\n|[:;,]|\d+| /g)];
  const mark = marks.length === 0 ? undefined : oneOf(random, marks);
  if (!mark) return below(random, text.length + 1);
  return mark.index + (chance(random, 0.5) ? mark[0].length : 0);
}

function changeNumber(random: Random, text: string): string {
  const numbers = [...text.matchAll(/\d+/g)];
  if (numbers.length === 0) return text;
  const number = oneOf(random, numbers);
  const value = Number(number[0]);
  const changed = oneOf(random, [
    String(value + 1),
    String(Math.max(0, value - 1)),
    `0${value}`,
    `${value}0`,
    '0',
    value.toString(16),
  ]);
  return spliced(text, number.index, number[0].length, changed);
}

function moveLine(random: Random, text: string): string {
  const lines = text.split('\r\n');
  const [line] = lines.splice(below(random, lines.length), 1);
  if (line !== undefined) lines.splice(below(random, lines.length + 1), 0, line);
  return lines.join('\r\n');
}

function changeLineEnd(random: Random, text: string): string {
  const ends = [...text.matchAll(/\r\n/g)];
  if (ends.length === 0) return text;
  const end = oneOf(random, ends);
  return spliced(
    text,
    end.index,
    2,
    oneOf(random, ['\n', '\r', '\r\r\n', '\n\r', '', '\r\n\r\n', '\r\n ', ' \r\n', '\0\r\n', '\r \n']),
  );
}

function changeByte(random: Random, text: string): string {
  const at = below(random, text.length);
  const byte = chance(random, 0.5) ? below(random, 256) : text.charCodeAt(at) ^ (1 << below(random, 8));
  return spliced(text, at, 1, String.fromCharCode(byte));
}

function changeCase(random: Random, text: string): string {
  const at = below(random, text.length);
  const size = 1 + below(random, 12);
  const part = text.slice(at, at + size);
  // ASCII only: of \xff there is no capital among the bytes.
  const changed = chance(random, 0.5)
    ? part.replace(/[a-z]+/g, (letters) => letters.toUpperCase())
    : part.replace(/[A-Z]+/g, (letters) => letters.toLowerCase());
  return spliced(text, at, size, changed);
}

function once(random: Random, text: string, others: readonly string[]): string {
  if (text === '') return oneOf(random, PIECES);
  const at = place(random, text);
  const size = 1 + below(random, chance(random, 0.8) ? 4 : 60);
  switch (below(random, 10)) {
    case 0:
      return changeByte(random, text);
    case 1:
    case 2:
      return spliced(text, at, 0, oneOf(random, PIECES));
    case 3:
      return spliced(text, at, size, '');
    case 4:
      return spliced(text, at, 0, text.slice(at, at + size));
    case 5:
      return changeLineEnd(random, text);
    case 6:
      return changeNumber(random, text);
    case 7:
      return moveLine(random, text);
    case 8:
      return changeCase(random, text);
    default: {
      const other = oneOf(random, others);
      return chance(random, 0.5)
        ? text.slice(0, at) + other.slice(place(random, other))
        : spliced(text, at, 0, other.slice(below(random, other.length), place(random, other)));
    }
  }
}

/** Changes `text` in one to four places; `others` to take parts from. At most 100,000 bytes come of it. */
export function mutate(random: Random, text: string, others: readonly string[]): string {
  let changed = text;
  for (let i = chance(random, 0.6) ? 1 : 1 + below(random, 4); i > 0; i--) changed = once(random, changed, others);
  return changed.slice(0, 100_000);
}
