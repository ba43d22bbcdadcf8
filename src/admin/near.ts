import { closest } from '../config/closest.ts';

const MOST = 3;
/** Comparing takes time by names × lengths: a suggestion must not become a way to keep the thread busy. */
const COMPARED = 500;

/** Names that may have been meant: those that contain the word, and the one it may be a misspelling of. */
export function nearMatches(word: string, names: Iterable<string>): readonly string[] {
  const wanted = word.toLowerCase();
  const found: string[] = [];
  const similar: string[] = [];
  for (const name of names) {
    if (wanted.length >= 2 && found.length < MOST && name.toLowerCase().includes(wanted)) found.push(name);
    else if (similar.length < COMPARED && Math.abs(name.length - word.length) <= word.length / 3) similar.push(name);
  }
  const misspelt = closest(word, similar);
  return (misspelt === undefined ? found : [misspelt, ...found]).slice(0, MOST);
}
