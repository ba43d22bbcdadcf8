import { Composer, LineCounter, Parser, type CST, type Document, type YAMLError } from 'yaml';

export type Path = readonly (string | number)[];

/** 1-based; columns count UTF-16 units, as editors do. */
export interface Position {
  readonly line: number;
  readonly column: number;
}

export interface Problem {
  readonly position: Position;
  readonly path: Path;
  readonly message: string;
}

/** Nesting beyond this is refused before anything recursive sees it: the recursion of a parser ends the process. */
const MAX_DEPTH = 64;

export interface YamlSource {
  readonly document: Document | undefined;
  readonly problems: readonly Problem[];
  positionOf(offset: number): Position;
}

/** Parses YAML far enough to read it, and says everything that is wrong with it as YAML. Never throws. */
export function parseYaml(text: string): YamlSource {
  const lines = new LineCounter();
  const positionOf = (offset: number): Position => {
    const { line, col } = lines.linePos(offset);
    return { line: Math.max(1, line), column: Math.max(1, col) };
  };
  const problem = (offset: number, message: string): Problem => ({ position: positionOf(offset), path: [], message });
  const tokens = [...new Parser(lines.addNewLine).parse(text)];
  const tooDeep = findTooDeep(tokens);
  if (tooDeep !== undefined) {
    return { document: undefined, problems: [problem(tooDeep, `nested deeper than ${MAX_DEPTH} levels`)], positionOf };
  }
  const composer = new Composer({ lineCounter: lines, prettyErrors: false, uniqueKeys: false });
  const [document, second] = [...composer.compose(tokens, true, text.length)];
  if (document === undefined) return { document, problems: [problem(0, 'no YAML document')], positionOf };
  // Warnings are about tags, and a value of an unknown tag is not the value that was meant.
  const faults = [...document.errors, ...document.warnings];
  const problems = firstOfEachLine(faults.map((error) => problem(firstWord(error.pos[0], text), explain(error, text))));
  if (second) problems.push(problem(second.range[0], 'a second document begins here; the file holds one'));
  // What follows from half a text would only hide the mistake.
  return { document: faults.length === 0 ? document : undefined, problems, positionOf };
}

const YAML_MESSAGES: ReadonlyMap<string, string> = new Map([
  ['TAB_AS_INDENT', 'a tab is used for indentation; YAML wants spaces'],
  [
    'BLOCK_AS_IMPLICIT_KEY',
    'a nested key on the same line: put it on a line of its own, or quote a text that contains ": "',
  ],
  ['MULTILINE_IMPLICIT_KEY', 'a key must stand on one line; is a colon or an indentation missing above?'],
]);

function explain({ code, message, pos }: YAMLError, text: string): string {
  const offset = pos[0];
  if (text[offset - 1] === '$' && text[offset] === '{')
    return 'inside of { } and [ ] a reference is written in quotes: "${NAME}"';
  if (code === 'BAD_INDENT' && message.includes('same column'))
    return 'is indented otherwise than the lines above: what belongs to one group begins in the same column';
  if (code === 'BLOCK_AS_IMPLICIT_KEY' && !/: /.test(text.slice(offset).split('\n', 1)[0] ?? ''))
    return 'the line below is indented further than this one, and so is taken for more of this value';
  // The parser quotes the source in some messages, and the source may hold a secret.
  return YAML_MESSAGES.get(code) ?? message.replace(/: ".*$/s, '');
}

/** Where a line is indented wrongly the parser names its beginning. */
function firstWord(offset: number, text: string): number {
  let at = offset;
  while (text[at] === ' ') at++;
  return at;
}

/** One mistake makes the parser stumble several times. */
function firstOfEachLine(problems: readonly Problem[]): Problem[] {
  const lines = new Set<number>();
  return problems.filter(({ position: { line } }) => !lines.has(line) && lines.add(line));
}

/** Offset of the first token nested too deep. Walks without recursion, since depth is what it is about. */
function findTooDeep(tokens: readonly CST.Token[]): number | undefined {
  const stack: { token: CST.Token | null | undefined; depth: number }[] = tokens.map((token) => ({ token, depth: 0 }));
  for (let next = stack.pop(); next !== undefined; next = stack.pop()) {
    const { token, depth } = next;
    if (!token) continue;
    if (depth > MAX_DEPTH) return token.offset;
    if (token.type === 'document') stack.push({ token: token.value, depth });
    if (!('items' in token)) continue;
    for (const item of token.items)
      stack.push({ token: item.key, depth: depth + 1 }, { token: item.value, depth: depth + 1 });
  }
  return undefined;
}
