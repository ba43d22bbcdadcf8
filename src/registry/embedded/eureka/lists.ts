import type { Fields } from '../../eureka/registration.ts';
import type { EmbeddedRegistry } from '../registry.ts';
import { inSlices, joined } from '../slices.ts';
import type { Entry } from '../table.ts';
import { type Action, instanceInfo, reconcileHash, type Shown } from './views.ts';
import { xmlElement } from './xml.ts';

/** One instance of a list, with what happened to it. */
export interface Item extends Shown {
  readonly action: Action;
}

export type Format = 'json' | 'xml';

export function itemOf(entry: Readonly<Entry>, action: Action = 'ADDED'): Item {
  return { instance: entry.instance, registration: entry.registration, action };
}

/** The whole table at this moment: what changes while it is told is not in it, and so the hash is that of what is told. */
export function everything(registry: EmbeddedRegistry): Item[] {
  return [...registry.services.values()].flatMap(({ entries }) => Array.from(entries.values(), (each) => itemOf(each)));
}

/** `hash` is that of the whole registry, be it of what the list shows or not. */
export function applications(items: readonly Item[], hash: string, version: string, format: Format): Response {
  const body = format === 'json' ? jsonApplications(items, hash, version) : xmlApplications(items, hash, version);
  return respond(inSlices(joined(body)), format);
}

export function application(name: string, items: readonly Item[], format: Format): Response {
  const instances = items.map((item) => instanceInfo(item, item.action));
  return single('application', { name: name.toUpperCase(), instance: instances }, format);
}

export function single(root: 'application' | 'instance', value: Fields, format: Format): Response {
  return respond(format === 'json' ? JSON.stringify({ [root]: value }) : xmlElement(root, inXml(value)), format);
}

export function hashOf(items: readonly Item[]): string {
  return reconcileHash(items);
}

/** As Eureka's server: JSON only where it is asked for by name. */
export function formatOf(accept: string | undefined): Format {
  return accept?.toLowerCase().includes('json') === true ? 'json' : 'xml';
}

function respond(body: string | ReadableStream<Uint8Array>, format: Format): Response {
  const headers = { 'content-type': `application/${format}`, 'cache-control': 'no-store' };
  return new Response(body, { headers });
}

function* jsonApplications(items: readonly Item[], hash: string, version: string): Generator<string> {
  yield `{"applications":{"versions__delta":${JSON.stringify(version)},"apps__hashcode":${JSON.stringify(hash)},"application":[`;
  let separator = '';
  for (const [name, members] of byApplication(items)) {
    yield `${separator}{"name":${JSON.stringify(name)},"instance":[`;
    let comma = '';
    for (const item of members) {
      yield `${comma}${JSON.stringify(instanceInfo(item, item.action))}`;
      comma = ',';
    }
    yield ']}';
    separator = ',';
  }
  yield ']}}';
}

function* xmlApplications(items: readonly Item[], hash: string, version: string): Generator<string> {
  yield `<applications>${xmlElement('versions__delta', version)}${xmlElement('apps__hashcode', hash)}`;
  for (const [name, members] of byApplication(items)) {
    yield `<application>${xmlElement('name', name)}`;
    for (const item of members) yield xmlElement('instance', inXml(instanceInfo(item, item.action)));
    yield '</application>';
  }
  yield '</applications>';
}

/** XStream's spelling of the one field that differs. */
function inXml(value: Fields): Fields {
  const { overriddenStatus, instance, ...rest } = value;
  return {
    ...rest,
    ...(overriddenStatus === undefined ? {} : { overriddenstatus: overriddenStatus }),
    ...(Array.isArray(instance) ? { instance: (instance as Fields[]).map(inXml) } : {}),
  };
}

/** Services that differ in case alone are one application. */
function byApplication(items: readonly Item[]): ReadonlyMap<string, Item[]> {
  return Map.groupBy(items, ({ instance }) => instance.service.toUpperCase());
}
