import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { rawSchema, type JsonSchema } from '../../scripts/config-reference.ts';
import { FAILURES } from '../../src/core/failure.ts';
import { REFUSALS } from '../../src/http1/refusal.ts';
import { SERIES } from '../../src/telemetry/series.ts';
import { mistakes } from './load-text.ts';

/* What the pages for people say, held against what there is. */

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const read = (file: string): string => readFileSync(join(ROOT, file), 'utf8');
const PAGES = [
  'README.md',
  'CONTRIBUTING.md',
  'CHANGELOG.md',
  ...readdirSync(join(ROOT, 'docs')).map((name) => `docs/${name}`),
].filter((name) => name.endsWith('.md'));
const prose = (file: string): string => read(file).replaceAll(/^```[^]*?^```/gm, '');

function anchorsOf(file: string): string[] {
  return [...prose(file).matchAll(/^#+ (.*)$/gm)].map(([, title = '']) =>
    title
      .toLowerCase()
      .replaceAll(/[^\w\s-]/g, '')
      .replaceAll(' ', '-'),
  );
}

/** Every key of the schema, by itself and with any number of the groups that it is in. */
function keysOfSchema(): ReadonlySet<string> {
  const schema = rawSchema();
  const found = new Set<string>();
  const walk = (part: JsonSchema, path: readonly string[]): void => {
    const referred = part.$ref === undefined ? undefined : schema.definitions?.[part.$ref.split('/').at(-1) ?? ''];
    if (referred) walk(referred, path);
    for (const [key, each] of Object.entries(part.properties ?? {})) {
      const at = [...path, key];
      for (let from = 0; from < at.length; from++) found.add(at.slice(from).join('.'));
      walk(each, at);
    }
    for (const each of [...(part.anyOf ?? []), ...(part.oneOf ?? [])]) walk(each, path);
    if (part.items) walk(part.items, path);
    if (typeof part.additionalProperties === 'object') walk(part.additionalProperties, [...path, 'X']);
  };
  walk(schema, []);
  return found;
}

describe.each(PAGES)('%s', (page) => {
  it('leads to pages and headings that there are', () => {
    for (const [, target = ''] of prose(page).matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^https?:/.test(target)) continue;
      const [path = '', anchor] = target.split('#');
      const file = path === '' ? page : normalize(join(dirname(page), path));
      expect(existsSync(join(ROOT, file)), target).toBe(true);
      if (anchor !== undefined) expect(anchorsOf(file), target).toContain(anchor);
    }
  });

  it('names files that there are', () => {
    for (const [, file = ''] of prose(page).matchAll(/`((?:src|test|docs|config|scripts|demo|\.ci)\/[\w./-]+)`/g)) {
      if (!file.includes('acme')) expect(existsSync(join(ROOT, file)), file).toBe(true);
    }
  });

  it('names series that there are', () => {
    const known = new Set(Object.values(SERIES).map(({ name }) => name));
    for (const [, name = ''] of read(page).matchAll(/\b(fairlead_[a-z_]+[a-z])\b/g)) expect(known).toContain(name);
  });

  it('names keys of the configuration that there are', () => {
    const keys = keysOfSchema();
    const groups = new Set([...keys].filter((key) => key.includes('.')).map((key) => key.split('.')[0] ?? ''));
    for (const [, key = ''] of prose(page).matchAll(/`([a-z][A-Za-z]*(?:\.[A-Za-z]+)+)(?::[^`]*)?`/g)) {
      // Metadata, and what a node of Curator holds, are others' to name.
      const [group = ''] = key.split('.');
      if (groups.has(group) && group !== 'metadata' && key !== 'services.X' && !key.endsWith('.ts'))
        expect(keys).toContain(key);
    }
  });
});

describe('the configurations in the pages', () => {
  const blocks = PAGES.flatMap((page) =>
    [...read(page).matchAll(/^```yaml\n([^]*?)^```/gm)].map(([, text = '']) => ({ page, text })),
  ).filter(
    ({ page, text }) => !/^apiVersion:/.test(text) && !(page.endsWith('registry-file.md') && /^services:/.test(text)),
  );

  it.each(blocks)('are valid: $page $text', ({ text }) => {
    const whole = /^ *- /.test(text)
      ? `registries:\n${text}`
      : /^health:/.test(text)
        ? `defaults:\n${text.replaceAll(/^/gm, '  ')}`
        : text;
    const env = Object.fromEntries([...text.matchAll(/\$\{(\w+)\}/g)].map(([, name = '']) => [name, 'x']));
    expect(mistakes(whole, env)).toEqual([]);
  });
});

describe('the flags of docs/observability.md', () => {
  const rows = [...read('docs/observability.md').matchAll(/^\| `([A-Z]{2})` \| ([\d, ]+) \| ([^|]*) \|/gm)].map(
    ([, flag, statuses = '', error]) => ({ flag, statuses: statuses.trim().split(', ').map(Number), error }),
  );

  it('are all there are, each with its status and its error', () => {
    const refused = [...new Set(Object.values(REFUSALS).map(({ status }) => status as number))].sort((a, b) => a - b);
    const expected = Object.values(FAILURES).map(({ flag, status, proxyError }) => ({
      flag,
      statuses: flag === 'DP' ? refused : [status],
      error: flag === 'DC' ? 'none: in the log only' : `\`${proxyError}\``,
    }));
    expect(rows).toEqual(expected);
  });
});

describe('the refusals of docs/http.md', () => {
  it('have a row for every reason', () => {
    const page = read('docs/http.md');
    for (const { reason, status } of Object.values(REFUSALS)) {
      const row = page.split('\n').find((line) => line.startsWith('|') && line.includes(`\`${reason}\``));
      expect(row, reason).toContain(String(status));
    }
  });
});
