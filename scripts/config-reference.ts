import { z } from 'zod';
import { configSchema } from '../src/config/schema.ts';

/** The part of JSON Schema (draft 7) that the export of a zod schema uses. */
export interface JsonSchema {
  $ref?: string;
  type?: string | string[];
  description?: string;
  default?: unknown;
  pattern?: string;
  enum?: unknown[];
  const?: unknown;
  properties?: Record<string, JsonSchema>;
  required?: string[];
  additionalProperties?: boolean | JsonSchema;
  propertyNames?: JsonSchema;
  items?: JsonSchema;
  anyOf?: JsonSchema[];
  oneOf?: JsonSchema[];
  definitions?: Record<string, JsonSchema>;
  [keyword: string]: unknown;
}

const REFERENCE = { $ref: '#/definitions/environment' };
const SCALARS: readonly unknown[] = ['integer', 'number', 'boolean'];

/** What editors check `fairlead.yaml` with: the input of the schema that the gateway itself uses. */
export function editorSchema(): JsonSchema {
  const schema = rawSchema();
  for (const part of [schema, ...Object.values(schema.definitions ?? {})]) soften(part);
  schema.title = 'Fairlead configuration';
  schema.definitions = {
    ...schema.definitions,
    environment: {
      type: 'string',
      pattern: '\\$\\{[A-Za-z_]',
      description: 'A value from the environment: ${NAME} or ${NAME:-default}.',
    },
  };
  return schema;
}

export function rawSchema(): JsonSchema {
  const schema = z.toJSONSchema(configSchema, { io: 'input', target: 'draft-7' }) as JsonSchema;
  // The type of a check may come from `defaults.health`, so that none of the alternatives can ask for it.
  const check = schema.definitions?.check;
  if (!check?.oneOf) throw new Error('the schema has no definition `check` with alternatives any more');
  check.anyOf = check.oneOf.map((each) => ({
    ...each,
    required: (each.required ?? []).filter((key) => key !== 'type'),
  }));
  delete check.oneOf;
  return schema;
}

/** Every value may come from the environment, whatever it is there; groups without keys are no default worth showing. */
function soften(schema: JsonSchema): void {
  if (isEmptyGroup(schema.default)) delete schema.default;
  for (const each of [...(schema.anyOf ?? []), ...(schema.oneOf ?? [])]) soften(each);
  if (schema.items) soften(schema.items);
  if (typeof schema.additionalProperties === 'object') soften(schema.additionalProperties);
  for (const [key, each] of Object.entries(schema.properties ?? {})) {
    soften(each);
    if (schema.properties && !isDiscriminator(key, each)) schema.properties[key] = orReference(each);
  }
}

function isDiscriminator(key: string, schema: JsonSchema): boolean {
  return key === 'type' && (schema.const !== undefined || schema.enum !== undefined);
}

function orReference(schema: JsonSchema): JsonSchema {
  const narrow =
    schema.pattern !== undefined ||
    schema.enum !== undefined ||
    schema.const !== undefined ||
    SCALARS.includes(schema.type);
  if (!narrow && !schema.anyOf?.some((each) => SCALARS.includes(each.type))) return schema;
  const { description, default: fallback, ...rest } = schema;
  const alternatives = rest.anyOf && rest.pattern === undefined ? rest.anyOf : [rest];
  return {
    ...(description === undefined ? {} : { description }),
    ...(fallback === undefined ? {} : { default: fallback }),
    anyOf: [...alternatives, REFERENCE],
  };
}

function isEmptyGroup(value: unknown): boolean {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && Object.keys(value).length === 0;
}

/** The tables of docs/configuration.md, by the name in their markers. */
export function keyTables(): ReadonlyMap<string, string> {
  const schema = rawSchema();
  const { properties = {}, definitions = {} } = schema;
  const resolve = (part: JsonSchema): JsonSchema =>
    part.$ref === undefined ? part : (definitions[part.$ref.split('/').at(-1) ?? ''] ?? part);
  const table = (part: JsonSchema | undefined, prefix: string, skip: ReadonlySet<string> = new Set()): string => {
    if (!part) throw new Error(`the schema has nothing for ${prefix} any more`);
    return ['| key | default | what it does |', '|---|---|---|', ...rows(part, prefix, skip, resolve)].join('\n');
  };
  const tables = new Map<string, string>();
  for (const [key, part] of Object.entries(properties)) {
    if (key === 'registries' || key === 'services') continue;
    const whole = part.properties ? part : { properties: { [key]: part } };
    tables.set(key, table(whole, part.properties ? `${key}.` : '', new Set(['health'])));
  }
  const service = properties.services?.additionalProperties;
  const own = Object.entries((typeof service === 'object' ? service.properties : undefined) ?? {}).filter(
    ([key]) => properties.defaults?.properties?.[key] === undefined,
  );
  tables.set('services', table({ properties: Object.fromEntries(own) }, 'services.X.'));
  const checks = definitions.check?.anyOf ?? [];
  const timing = new Set(Object.keys(checks[0]?.properties ?? {}));
  tables.set('check', table(checks[0], ''));
  for (const each of checks) tables.set(`check-${typeOf(each)}`, table(each, '', timing));
  const registries = properties.registries?.items?.oneOf ?? [];
  const embedded = registries[0]?.properties ?? {};
  const common = ['name', 'services', 'servicePrefix', 'relistInterval', 'guard'];
  tables.set(
    'registry',
    table({ properties: Object.fromEntries(common.map((key) => [key, embedded[key] ?? {}])) }, ''),
  );
  tables.set('registry-tls', table({ properties: { tls: definitions.tls ?? {} } }, ''));
  for (const each of registries) {
    const type = typeOf(each);
    const own = each.properties?.servicePrefix ? common : common.filter((key) => key !== 'services');
    tables.set(`registry-${type}`, table(each, '', new Set(['type', 'tls', ...own])));
  }
  return tables;
}

function typeOf({ properties }: JsonSchema): string {
  const type = properties?.type;
  return String(type?.const ?? type?.enum?.[0]);
}

function rows(
  part: JsonSchema,
  prefix: string,
  skip: ReadonlySet<string>,
  resolve: (part: JsonSchema) => JsonSchema,
): string[] {
  return Object.entries(part.properties ?? {}).flatMap(([key, reference]) => {
    if (skip.has(key)) return [];
    const each = resolve(reference);
    const own = `| \`${prefix}${key}\` | ${fallbackOf(key, each, part)} | ${cell(each.description ?? '')} |`;
    return each.properties ? [own, ...rows(each, `${prefix}${key}.`, new Set(), resolve)] : [own];
  });
}

function fallbackOf(key: string, { default: fallback, properties }: JsonSchema, parent: JsonSchema): string {
  if (parent.required?.includes(key)) return '*required*';
  if (properties !== undefined && isEmptyGroup(fallback ?? {})) return '';
  if (fallback === undefined) return '*none*';
  if (fallback === '') return '*empty*';
  if (key === 'name') return '*its type*';
  return `\`${cell(typeof fallback === 'string' ? fallback : JSON.stringify(fallback))}\``;
}

function cell(text: string): string {
  return text.replaceAll('|', '\\|').replaceAll('<', '&lt;').replaceAll(/\s+/g, ' ');
}

const MARKED = /(<!-- keys:([a-z-]+) -->\n)[\s\S]*?(<!-- \/keys -->)/g;

/** The page with every table between `<!-- keys:NAME -->` and `<!-- /keys -->` made anew. Throws for a name there is none of. */
export function withTables(page: string): string {
  const tables = keyTables();
  return page.replaceAll(MARKED, (_, begin: string, name: string, end: string) => {
    const table = tables.get(name);
    if (table === undefined)
      throw new Error(`docs/configuration.md asks for the keys of ${name}; there are ${[...tables.keys()].join(', ')}`);
    return `${begin}\n${table}\n\n${end}`;
  });
}
