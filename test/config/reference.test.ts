import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { editorSchema, keyTables, rawSchema, withTables, type JsonSchema } from '../../scripts/config-reference.ts';
import { load } from './load-text.ts';

const read = (file: string): string => readFileSync(new URL(`../../${file}`, import.meta.url), 'utf8');
const examples = readdirSync(new URL('../../config/examples/', import.meta.url)).map(
  (name) => `config/examples/${name}`,
);

const SECRETS = {
  FAIRLEAD_ADMIN_TOKEN: 'a',
  FAIRLEAD_REGISTRY_TOKEN: 'b',
  CONSUL_TOKEN: 'c',
  ETCD_PASSWORD: '007',
  ZOOKEEPER_PASSWORD: 'e',
};

describe('the files that ship', () => {
  it.each(['config/fairlead.yaml', ...examples])('%s is valid', (file) => {
    expect(load(read(file), SECRETS).registries.length).toBeGreaterThan(0);
  });

  it.each(examples)('%s points editors to the schema', (file) => {
    expect(read(file).split('\n')[0]).toBe('# yaml-language-server: $schema=../fairlead.schema.json');
  });

  it('there is an example for every type of registry', () => {
    const types = new Set(examples.flatMap((file) => load(read(file), SECRETS).registries.map(({ type }) => type)));
    expect(types.size).toBe(9);
  });

  it('what `npm start` runs says of its own accord what the defaults are, but for loopback and waiting', () => {
    const shipped = load(read('config/fairlead.yaml'));
    const empty = load('');
    expect(shipped).toStrictEqual({
      ...empty,
      gateway: { ...empty.gateway, upstreamAddresses: { ...empty.gateway.upstreamAddresses, allowLoopback: true } },
      shutdown: { ...empty.shutdown, acceptForMs: 0 },
    });
  });
});

describe('what is made from the schema', () => {
  it('the JSON Schema is in step: run `npm run schema`', () => {
    expect(JSON.parse(read('config/fairlead.schema.json'))).toEqual(editorSchema());
  });

  it('the tables of docs/configuration.md are in step: run `npm run schema`', () => {
    const page = read('docs/configuration.md');
    expect(withTables(page)).toBe(page);
  });

  it('the page has every table there is', () => {
    const page = read('docs/configuration.md');
    const empty = [...keyTables()].filter(([, table]) => table.split('\n').length === 2).map(([name]) => name);
    expect(empty).toEqual(['check-tcp', 'check-ttl']);
    for (const name of keyTables().keys()) {
      if (!empty.includes(name)) expect(page, name).toContain(`<!-- keys:${name} -->`);
    }
  });

  it('every key has a sentence', () => {
    const silent: string[] = [];
    const walk = (schema: JsonSchema, path: string): void => {
      for (const [key, each] of Object.entries(schema.properties ?? {})) {
        const at = `${path}.${key}`;
        const isType = key === 'type' && each.const !== undefined;
        if (each.description === undefined && each.$ref === undefined && !isType) silent.push(at);
        if (each.description !== undefined && !each.description.replace(/ \(.*\)$/, '').endsWith('.'))
          silent.push(`${at}: no sentence`);
        walk(each, at);
      }
      for (const each of [...(schema.anyOf ?? []), ...(schema.oneOf ?? [])]) walk(each, path);
      if (schema.items) walk(schema.items, `${path}[]`);
      if (typeof schema.additionalProperties === 'object') walk(schema.additionalProperties, `${path}.*`);
    };
    const schema = rawSchema();
    walk(schema, '');
    for (const [name, part] of Object.entries(schema.definitions ?? {})) walk(part, name);
    expect(silent).toEqual([]);
  });
});
