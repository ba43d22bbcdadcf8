import { parseDocument } from 'yaml';
import type { Instance } from '../../core/instance.ts';
import { isName, NAME_RULE } from '../../core/names.ts';
import type { OnSkip } from '../backend.ts';
import { parseRecord, quote } from '../record.ts';

/** By service. */
export type Services = ReadonlyMap<string, readonly Instance[]>;

/** The text is no instance file, as a whole. The message says why, for whoever wrote it. */
export class NotADocument extends Error {
  override readonly name = 'NotADocument';
}

export interface ParseOptions {
  readonly format: 'yaml' | 'json';
  readonly onSkip: OnSkip;
  /** Called between instances; resolves when it is time to go on. A large file must not hold everything else up. */
  readonly pause: () => Promise<void> | undefined;
}

/**
 * Reads `services: { web: ["10.0.0.7:80", { host: 10.0.0.8, port: 80, weight: 2 }] }`, as YAML or JSON.
 *
 * Rejects with `NotADocument` where the whole cannot be understood. One bad instance is left out and reported; an
 * unknown key in an instance is reported, and the instance is used: a slip of the pen must not take it out.
 */
export async function parseInstanceFile(text: string, options: ParseOptions): Promise<Services> {
  const lists = listsOf(options.format === 'json' ? fromJson(text) : fromYaml(text));
  const services = new Map<string, readonly Instance[]>();
  for (const [service, records] of lists) {
    if (isName(service)) services.set(service, await parseInstances(service, records, options));
    else options.onSkip({ service, id: '*', why: `the service name must be ${NAME_RULE}` });
  }
  return services;
}

function listsOf(raw: unknown): [string, readonly unknown[]][] {
  if (!isMap(raw)) throw new NotADocument('it must be a map with the key "services"');
  const { services, ...others } = raw;
  const [other] = Object.keys(others);
  if (!isMap(services))
    throw new NotADocument('the key "services" must hold a map from service names to lists of instances');
  if (other !== undefined)
    throw new NotADocument(`there may be no key beside "services", and there is ${quote(other)}`);
  return Object.entries(services).map(([service, records]) => {
    if (!Array.isArray(records))
      throw new NotADocument(`services.${quote(service)} must be a list; [] is an empty one`);
    return [service, records as unknown[]];
  });
}

function isMap(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

async function parseInstances(
  service: string,
  records: readonly unknown[],
  options: ParseOptions,
): Promise<readonly Instance[]> {
  const byId = new Map<string, Instance>();
  for (const [at, record] of records.entries()) {
    const pausing = options.pause();
    if (pausing) await pausing;
    const strict = parseRecord(record, { service, strict: true });
    const parsed = strict.ok ? strict : parseRecord(record, { service });
    if (!parsed.ok) {
      options.onSkip({ service, id: `#${at + 1}`, why: parsed.why });
      continue;
    }
    const { id } = parsed.instance;
    if (!strict.ok) options.onSkip({ service, id, why: `used without what is wrong in it: ${strict.why}` });
    if (byId.has(id)) options.onSkip({ service, id, why: 'the id is there twice; the first one is used' });
    else byId.set(id, parsed.instance);
  }
  return [...byId.values()];
}

function fromJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new NotADocument(`it is no JSON: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
  }
}

function fromYaml(text: string): unknown {
  const yaml = parseDocument(text, { schema: 'core', strict: true, uniqueKeys: true, merge: false });
  const [error] = yaml.errors;
  if (error) throw new NotADocument(`it is no YAML: ${error.message.slice(0, 300)}`);
  try {
    return yaml.toJS({ maxAliasCount: 100 });
  } catch (cause) {
    throw new NotADocument(`it is no YAML: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
  }
}
