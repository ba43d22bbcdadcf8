import {
  isAlias,
  isMap,
  isScalar,
  isSeq,
  type Alias,
  type Document,
  type Node,
  type Pair,
  type Scalar,
  type YAMLMap,
} from 'yaml';
import { substitute, type Environment } from './substitute.ts';
import { parseYaml, type Path, type Position, type Problem, type YamlSource } from './yaml-source.ts';

/** Aliases may stand for much more than they take to write. */
const MAX_VALUES = 250_000;

/**
 * A YAML text as plain values that remember where they stand.
 *
 * Keys without a value count as not given, except under a key `services`, where the name itself says something.
 */
export class ConfigDocument {
  readonly value: unknown;
  readonly problems: readonly Problem[];
  /** The text is no YAML: `value` is undefined, and only `problems` says anything. */
  readonly broken: boolean;
  readonly #source: YamlSource;
  readonly #reader: Reader | undefined;

  private constructor(source: YamlSource, env: Environment, asText: ReadonlySet<Scalar>) {
    this.#source = source;
    this.broken = source.document === undefined;
    if (source.document === undefined) {
      this.problems = source.problems;
      return;
    }
    this.#reader = new Reader(source.document, env, asText, (offset) => source.positionOf(offset));
    this.value = this.#reader.read(source.document.contents, []) ?? {};
    this.problems = [...source.problems, ...this.#reader.problems];
  }

  static parse(text: string, env: Environment): ConfigDocument {
    return new ConfigDocument(parseYaml(text), env, new Set());
  }

  /**
   * The same text, where the values that environment variables gave at these paths are text whatever they look like:
   * a password of digits is still a password. undefined where no value at these paths came from a variable.
   */
  readAsText(paths: Iterable<Path>, env: Environment): ConfigDocument | undefined {
    const reader = this.#reader;
    if (reader === undefined) return undefined;
    const asText = new Set<Scalar>();
    for (const path of paths) {
      const node = reader.resolve(path).node;
      if (isScalar(node) && reader.retyped.has(node)) asText.add(node);
    }
    return asText.size > 0 ? new ConfigDocument(this.#source, env, asText) : undefined;
  }

  /** Where the value at `path` begins, or the nearest group around it; `key`: where its key does. */
  locate(path: Path, what: 'value' | 'key' = 'value'): Position {
    const found = this.#reader?.resolve(path);
    const offset = (what === 'key' ? found?.key?.range?.[0] : undefined) ?? found?.node?.range?.[0] ?? 0;
    return this.#source.positionOf(offset);
  }

  has(path: Path): boolean {
    return this.#reader?.resolve(path).complete ?? false;
  }
}

interface Resolved {
  /** The node at the path, or the deepest one on the way to it. Aliases are followed. */
  readonly node: Node | undefined;
  readonly key: Node | undefined;
  readonly complete: boolean;
}

/** Turns nodes into values. */
class Reader {
  readonly problems: Problem[] = [];
  /** Scalars that were one reference to a variable and are no text by what it held. */
  readonly retyped = new Set<Scalar>();
  readonly #document: Document;
  readonly #env: Environment;
  readonly #asText: ReadonlySet<Scalar>;
  readonly #positionOf: (offset: number) => Position;
  readonly #pairs = new Map<YAMLMap, Map<string, Pair<Node, Node | null>>>();
  readonly #open = new Set<Node>();
  readonly #anchors = new Map<string, Node>();
  readonly #targets = new Map<Alias, Node | undefined>();
  readonly #seen = new Set<Node>();
  #values = 0;

  constructor(
    document: Document,
    env: Environment,
    asText: ReadonlySet<Scalar>,
    positionOf: (offset: number) => Position,
  ) {
    this.#document = document;
    this.#env = env;
    this.#asText = asText;
    this.#positionOf = positionOf;
  }

  read(node: unknown, path: Path): unknown {
    const target = this.#follow(node);
    if (target === undefined) {
      if (isAlias(node))
        this.#report(
          node,
          path,
          `no anchor &${node.source} stands before this alias; a text that begins with * is written in quotes`,
        );
      return null;
    }
    this.#values += 1;
    if (this.#values > MAX_VALUES) {
      if (this.#values === MAX_VALUES + 1) {
        this.#report(node, path, `more than ${MAX_VALUES} values, aliases counted by what they stand for`);
      }
      return null;
    }
    // Only where it stands in the text: read again through an alias, it must not take a name back that has moved on.
    if (target.anchor !== undefined && !this.#seen.has(target)) this.#anchors.set(target.anchor, target);
    this.#seen.add(target);
    if (isScalar(target)) return this.#readScalar(target, path);
    if (this.#open.has(target)) {
      this.#report(node, path, 'this alias stands inside of what it stands for');
      return null;
    }
    this.#open.add(target);
    const value = isMap(target)
      ? this.#readMap(target as YAMLMap<Node, Node | null>, path)
      : isSeq(target)
        ? target.items.map((item, index) => this.read(item, [...path, index]))
        : null;
    this.#open.delete(target);
    return value;
  }

  resolve(path: Path): Resolved {
    let node = this.#follow(this.#document.contents);
    let key: Node | undefined;
    for (const segment of path) {
      const pair = isMap(node) ? this.#pairs.get(node)?.get(String(segment)) : undefined;
      const item: unknown = pair
        ? pair.value
        : isSeq(node) && typeof segment === 'number'
          ? node.items[segment]
          : undefined;
      if (pair === undefined && item === undefined) return { node, key, complete: false };
      key = pair?.key;
      node = this.#follow(item) ?? pair?.key;
    }
    return { node, key, complete: true };
  }

  #readMap(map: YAMLMap<Node, Node | null>, path: Path): Record<string, unknown> {
    const pairs = new Map<string, Pair<Node, Node | null>>();
    this.#pairs.set(map, pairs);
    const value: Record<string, unknown> = {};
    const keepsEmpty = path.at(-1) === 'services';
    for (const pair of map.items) {
      const key = keyText(pair.key);
      if (key === undefined || key === '__proto__') {
        this.#report(pair.key, path, 'a key must be plain text');
        continue;
      }
      const before = pairs.get(key);
      if (before) {
        const { line } = this.#positionOf(before.key.range?.[0] ?? 0);
        this.#report(pair.key, [...path, key], `this key stands on line ${line} already; only one of the two can hold`);
        continue;
      }
      pairs.set(key, pair);
      const item = this.read(pair.value, [...path, key]);
      if (item !== null || keepsEmpty) value[key] = item;
    }
    return value;
  }

  #readScalar(node: Scalar, path: Path): unknown {
    if (typeof node.value !== 'string') return node.value;
    const { text, whole, changed, problems } = substitute(node.value, this.#env);
    for (const message of problems) this.#report(node, path, message);
    if (!changed || !whole || this.#asText.has(node)) return text;
    const value = this.#retype(text);
    if (value !== text) this.retyped.add(node);
    return value;
  }

  /** As YAML types a plain scalar, but that the words for null stay words: a variable holding "null" is no absence. */
  #retype(text: string): unknown {
    if (text === '') return null;
    for (const tag of this.#document.schema.tags) {
      if (tag.collection !== undefined || tag.default !== true || tag.test === undefined || tag.tag.endsWith(':null'))
        continue;
      if (!tag.test.test(text)) continue;
      const resolved = tag.resolve(text, () => undefined, this.#document.options);
      return isScalar(resolved) ? resolved.value : resolved;
    }
    return text;
  }

  #follow(node: unknown): Node | undefined {
    if (isAlias(node)) {
      if (!this.#targets.has(node)) this.#targets.set(node, this.#anchors.get(node.source));
      return this.#targets.get(node);
    }
    return isScalar(node) || isMap(node) || isSeq(node) ? node : undefined;
  }

  #report(node: unknown, path: Path, message: string): void {
    const range = isScalar(node) || isMap(node) || isSeq(node) || isAlias(node) ? node.range : undefined;
    this.problems.push({ position: this.#positionOf(range?.[0] ?? 0), path, message });
  }
}

function keyText(key: unknown): string | undefined {
  if (!isScalar(key)) return undefined;
  if (typeof key.value === 'string') return key.value;
  // `80:` and `true:` are names like any other here.
  return key.source !== undefined && key.source !== '' ? key.source : undefined;
}
