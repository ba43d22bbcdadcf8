/*
 * What is shown of figures, times and the words of others. Everything from outside goes through `plain`: what cannot be
 * seen, or turns the direction of what follows, is written out.
 */

const UNSEEN = /[\p{C}\p{Zl}\p{Zp}]/gu;
const MAX_CHARS = 600;

/** @param {unknown} words @param {number} [most] */
export function plain(words, most = MAX_CHARS) {
  const text = String(words ?? '');
  const cut = text.length > most ? `${text.slice(0, most)}…` : text;
  return cut.replace(UNSEEN, (char) => `\\u{${(char.codePointAt(0) ?? 0).toString(16)}}`);
}

const whole = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });

/** @param {number} value */
export function count(value) {
  return whole.format(value);
}

/** @param {number} number @param {string} word */
export function counted(number, word) {
  return `${count(number)} ${word}${number === 1 ? '' : 's'}`;
}

/** Three digits that say something. @param {number} value */
export function figure(value) {
  if (value === 0) return '0';
  if (value >= 100) return count(value);
  if (value < 0.01) return '< 0.01';
  return value.toPrecision(value < 1 ? 2 : 3);
}

/** @param {number} share 0 to 1 */
export function percent(share) {
  const value = share * 100;
  if (value === 0 || value === 100) return `${value} %`;
  if (value > 99.9) return '> 99.9 %';
  return value < 0.01 ? '< 0.01 %' : `${value < 1 ? value.toPrecision(2) : value.toFixed(1)} %`;
}

/** @param {number} ms */
export function duration(ms) {
  if (ms < 1000) return `${figure(ms)} ms`;
  return ms < 10_000 ? `${(ms / 1000).toFixed(1)} s` : age(ms);
}

/** @type {readonly (readonly [string, number])[]} */
const UNITS = [
  ['d', 86_400_000],
  ['h', 3_600_000],
  ['min', 60_000],
  ['s', 1000],
];

/** In the largest unit that fits, and what is left in the next. @param {number} ms */
export function age(ms) {
  const at = UNITS.findIndex(([, size]) => ms >= size);
  const [unit, size] = UNITS[at] ?? ['s', 1000];
  const [smaller, smallerSize] = UNITS[at + 1] ?? ['', Infinity];
  if (at < 0) return '< 1 s';
  const rest = Math.floor((ms % size) / smallerSize);
  return `${Math.floor(ms / size)} ${unit}${rest > 0 ? ` ${rest} ${smaller}` : ''}`;
}

/** @param {number} bytes */
export function bytes(bytes) {
  return bytes >= 2 ** 30 ? `${(bytes / 2 ** 30).toFixed(1)} GiB` : `${(bytes / 2 ** 20).toFixed(1)} MiB`;
}

/** In the time of whoever looks; with the day where it is not that of `nowMs`. @param {number} wallMs @param {number} nowMs */
export function time(wallMs, nowMs) {
  const at = new Date(wallMs);
  const two = (/** @type {number} */ number) => String(number).padStart(2, '0');
  const clock = `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
  if (at.toDateString() === new Date(nowMs).toDateString()) return clock;
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ${clock}`;
}
