import type { AddressPolicy } from '../../../core/address.ts';
import { isName, NAME_RULE } from '../../../core/names.ts';
import { asFields, type Fields, keyOf, statusOf, textOf } from '../../eureka/registration.ts';
import { RECORD_LIMITS } from '../../record.ts';
import type { FieldError } from '../api/problem.ts';
import type { Registration } from '../record.ts';
import { buildRegistration, DEFAULT_LEASE_MS, type Said } from './build.ts';

/** Fields of InstanceInfo that are kept as they are: others read them, we do not. */
const TEXTS = [
  'instanceId',
  'hostName',
  'ipAddr',
  'appGroupName',
  'asgName',
  'sid',
  'vipAddress',
  'secureVipAddress',
  'homePageUrl',
  'statusPageUrl',
  'healthCheckUrl',
  'secureHealthCheckUrl',
] as const;
const MAX_TEXT = 2048;
const MAX_ID = 512;
const CONTROL = /\p{Cc}/u;

export type Parsed =
  { readonly said: Said; readonly registration: Registration } | { readonly errors: readonly FieldError[] };

/** `{"instance": {…}}`, the body of `POST /eureka/apps/{app}`, or every field that is wrong with it. */
export function parseInstance(app: string, body: unknown, addresses: AddressPolicy): Parsed {
  const service = app.toLowerCase();
  if (!isName(service)) return refuse('app', `of the path must be ${NAME_RULE}`);
  const instance = asFields(asFields(body)?.['instance']);
  if (!instance) return refuse('instance', 'must be an object, as in {"instance": {"hostName": …}}');
  const errors: FieldError[] = [];
  const add = (field: string, message: string): void => void errors.push({ field: `instance.${field}`, message });

  const ownApp = textOf(instance['app']);
  if (ownApp !== undefined && ownApp.toLowerCase() !== service) add('app', 'must be the one of the path');
  const key = keyOf(instance);
  if (key === undefined) add('instanceId', 'is missing, and so is hostName, which would do in its place');
  else if (key.length > MAX_ID || CONTROL.test(key)) add('instanceId', `must be printable, at most ${MAX_ID} long`);
  const fields = keptFields(instance, add);
  const metadata = metadataFields(instance['metadata'], add);
  const ttlMs = leaseMs(instance, add);
  if (errors.length > 0 || key === undefined || ttlMs === undefined) return { errors };

  const override = statusOf({
    status: instance['overriddenStatus'] ?? instance['overriddenstatus'] ?? instance['overRiddenStatus'] ?? 'UNKNOWN',
  });
  const said: Said = { service, key, fields, metadata, ttlMs, status: statusOf(instance), override };
  const { registration, ...failure } = buildRegistration(said);
  if (!registration) return { errors: [errorOf('why' in failure ? failure.why : '')] };
  const { host, port } = registration.instance;
  const refused = addresses.refusePort(port) ?? addresses.refuseHost(host, port);
  if (refused !== undefined) {
    return refuse(
      addresses.refusePort(port) === undefined ? 'instance.hostName' : 'instance.port',
      `is refused: ${refused}`,
    );
  }
  return { said, registration };
}

type Add = (field: string, message: string) => void;

function keptFields(instance: Fields, add: Add): Fields {
  const kept = new Map<string, unknown>();
  for (const field of TEXTS) {
    const value = instance[field];
    if (value === undefined || value === null) continue;
    if (typeof value !== 'string') add(field, 'must be text');
    else if (value.length > MAX_TEXT || CONTROL.test(value)) add(field, `must be printable, at most ${MAX_TEXT} long`);
    else kept.set(field, value);
  }
  for (const field of ['port', 'securePort'] as const) {
    const port = portField(instance[field], field, add);
    if (port) kept.set(field, port);
  }
  const dirty = Number(instance['lastDirtyTimestamp']);
  if (Number.isSafeInteger(dirty) && dirty > 0) kept.set('lastDirtyTimestamp', dirty);
  const renewal = Number(asFields(instance['leaseInfo'])?.['renewalIntervalInSecs']);
  if (Number.isSafeInteger(renewal) && renewal > 0) kept.set('renewalIntervalInSecs', renewal);
  const center = dataCenter(instance['dataCenterInfo'], add);
  if (center) kept.set('dataCenterInfo', center);
  return Object.fromEntries(kept);
}

const PORT_RULE = 'must be a port, as in {"$": 8080, "@enabled": "true"}';

/** In the one form in which Eureka writes it, whichever of its forms came. */
function portField(value: unknown, field: string, add: Add): Fields | undefined {
  if (value === undefined || value === null) return undefined;
  const fields = asFields(value);
  const given = fields ? fields['$'] : value;
  const port = typeof given === 'string' && /^\d{1,5}$/.test(given) ? Number(given) : given;
  const flag = fields?.['@enabled'] ?? field === 'port';
  const enabled = flag === true || (typeof flag === 'string' && flag.toLowerCase() === 'true');
  if (typeof port === 'number' && Number.isInteger(port) && port <= 65_535 && port >= (enabled ? 1 : -1)) {
    return { $: port, '@enabled': String(enabled) };
  }
  add(field, PORT_RULE);
  return undefined;
}

/** A name, a class, and in a cloud the metadata of it, which tell zones. */
function dataCenter(value: unknown, add: Add): Fields | undefined {
  if (value === undefined || value === null) return undefined;
  const given = asFields(value);
  const name = textOf(given?.['name']);
  if (!given || name === undefined) {
    add('dataCenterInfo', 'must be an object with a name, such as {"name": "MyOwn"}');
    return undefined;
  }
  const metadata = [...metadataFields(given['metadata'], (_, message) => add('dataCenterInfo.metadata', message))];
  const type = textOf(given['@class']) ?? DEFAULT_CENTER;
  if (type.length > MAX_TEXT || name.length > MAX_TEXT) add('dataCenterInfo', `must not be longer than ${MAX_TEXT}`);
  // Netflix's decoder needs the name before the metadata.
  return { '@class': type, name, ...(metadata.length > 0 ? { metadata: Object.fromEntries(metadata) } : {}) };
}

export const DEFAULT_CENTER = 'com.netflix.appinfo.InstanceInfo$DefaultDataCenterInfo';

/** Keys that begin with @ are Jackson's own. */
export function metadataFields(value: unknown, add: Add): ReadonlyMap<string, string> {
  const texts = new Map<string, string>();
  if (value === undefined || value === null) return texts;
  const given = asFields(value);
  if (!given) {
    add('metadata', 'must be an object of texts');
    return texts;
  }
  for (const [key, each] of Object.entries(given)) {
    if (key.startsWith('@') || each === null) continue;
    const isText = typeof each === 'string' || typeof each === 'number' || typeof each === 'boolean';
    if (isText && key !== '__proto__' && key !== '') texts.set(key, String(each));
    else add('metadata', 'must be an object of texts');
  }
  const problem = metadataProblem(texts);
  if (problem !== undefined) add('metadata', problem);
  return texts;
}

export function metadataProblem(metadata: ReadonlyMap<string, string>): string | undefined {
  const { metadataEntries, metadataBytes } = RECORD_LIMITS;
  if (metadata.size > metadataEntries) return `must have at most ${metadataEntries} entries`;
  const bytes = [...metadata].reduce((sum, [key, text]) => sum + Buffer.byteLength(key) + Buffer.byteLength(text), 0);
  return bytes > metadataBytes ? `must be at most ${metadataBytes} bytes, keys and values together` : undefined;
}

function leaseMs(instance: Fields, add: Add): number | undefined {
  const given = asFields(instance['leaseInfo'])?.['durationInSecs'];
  if (given === undefined || given === null) return DEFAULT_LEASE_MS;
  const seconds = typeof given === 'string' && given !== '' ? Number(given) : given;
  if (typeof seconds === 'number' && Number.isInteger(seconds) && seconds >= 1 && seconds <= 86_400)
    return seconds * 1000;
  add('leaseInfo.durationInSecs', 'must be a whole number of seconds from 1 to 86400');
  return undefined;
}

/** `field: what is wrong`, as the parser of instances puts it. */
function errorOf(why: string): FieldError {
  const [, field = '', message = why] = /^(\w+): (.*)$/s.exec(why) ?? [];
  return { field: field === '' ? 'instance' : `instance.${field}`, message };
}

function refuse(field: string, message: string): { readonly errors: readonly FieldError[] } {
  return { errors: [{ field, message }] };
}
