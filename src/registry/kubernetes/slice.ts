import { z } from 'zod';
import { canonicalHost } from '../address.ts';
import { explain, quote } from '../record.ts';

/** The label by which the API server tells whose endpoints a slice holds. */
export const SERVICE_LABEL = 'kubernetes.io/service-name';

/** Which port of a slice gets the traffic: by name, by number, or the first one that speaks TCP. */
export type PortChoice = string | number | undefined;

/** One endpoint, on the one port that was chosen. */
export interface Endpoint {
  readonly host: string;
  readonly port: number;
  readonly secure: boolean;
  /** `ready` as the API means it: missing is true. */
  readonly ready: boolean;
  readonly serving: boolean;
  readonly terminating: boolean;
  readonly zone: string | undefined;
  readonly node: string | undefined;
  /** Name of the pod behind it. */
  readonly pod: string | undefined;
}

/** What one slice contributes to its service. */
export interface Slice {
  readonly namespace: string;
  readonly name: string;
  /** Value of the service label. */
  readonly service: string;
  readonly endpoints: readonly Endpoint[];
}

/** What was left out of a slice, and why. `id`: the address, or the slice where all of it is meant. */
export type OnFlaw = (id: string, why: string) => void;

const text = z.string().max(253);
const metadataSchema = z.object({
  name: text.min(1),
  namespace: text.min(1),
  resourceVersion: z.string().max(64).nullish(),
  labels: z.record(z.string(), z.string()).nullish(),
});
const portSchema = z.object({
  name: z.string().nullish(),
  port: z.number().int().min(1).max(65_535).nullish(),
  protocol: z.string().nullish(),
  appProtocol: z.string().nullish(),
});
const contentSchema = z.object({
  addressType: z.string().nullish(),
  // The API allows 1000 of the one and 20,000 of the other at most.
  endpoints: z.array(z.unknown()).max(1000).nullish(),
  ports: z.array(portSchema).max(20_000).nullish(),
});
const endpointSchema = z.object({
  addresses: z.array(z.string()).min(1).max(100),
  conditions: z
    .object({
      ready: z.boolean().nullish(),
      serving: z.boolean().nullish(),
      terminating: z.boolean().nullish(),
    })
    .nullish(),
  zone: text.nullish(),
  nodeName: text.nullish(),
  targetRef: z.object({ kind: z.string().nullish(), name: text.nullish() }).nullish(),
});

type Port = z.output<typeof portSchema>;

/** Name, namespace and revision of any object of the API; undefined where it has none. */
export function readMetadata(object: unknown): z.output<typeof metadataSchema> | undefined {
  const parsed = z.object({ metadata: metadataSchema }).safeParse(object);
  return parsed.success ? parsed.data.metadata : undefined;
}

/**
 * An EndpointSlice (discovery.k8s.io/v1). What cannot be used is reported and left out; a slice that cannot be read at
 * all contributes nothing, but is still known. Undefined only where it says neither its name nor its service.
 */
export function readSlice(object: unknown, choice: PortChoice, onFlaw: OnFlaw): Slice | undefined {
  const metadata = readMetadata(object);
  const service = metadata?.labels?.[SERVICE_LABEL];
  if (!metadata || service === undefined) {
    onFlaw('', `an EndpointSlice without a name or without the label ${SERVICE_LABEL}`);
    return undefined;
  }
  const { namespace, name } = metadata;
  const place = { namespace, name, service };
  const content = contentSchema.safeParse(object);
  if (!content.success) {
    onFlaw(name, `slice ${quote(name)}: ${explain(content.error)}`);
    return { ...place, endpoints: [] };
  }
  const endpoints = content.data.endpoints ?? [];
  const port = choosePort(content.data.ports ?? [], choice);
  if (typeof port === 'string') {
    if (endpoints.length > 0) onFlaw(name, `slice ${quote(name)} ${port}`);
    return { ...place, endpoints: [] };
  }
  return { ...place, endpoints: endpoints.flatMap((each) => readEndpoint(each, port, onFlaw) ?? []) };
}

interface ChosenPort {
  readonly port: number;
  readonly secure: boolean;
}

/** The port, or the reason why there is none. */
function choosePort(ports: readonly Port[], choice: PortChoice): ChosenPort | string {
  // Without any port the API means all of them: then only a number says which.
  if (ports.length === 0) {
    return typeof choice === 'number'
      ? { port: choice, secure: false }
      : 'names no port: set registries[].port to the number of one';
  }
  // Missing protocol is TCP.
  const usable = ports.filter((each) => typeof each.port === 'number' && (each.protocol ?? 'TCP') === 'TCP');
  const wanted = usable.find((each) => choice === undefined || each.name === choice || each.port === choice);
  if (typeof wanted?.port === 'number') return { port: wanted.port, secure: wanted.appProtocol === 'https' };
  const there = ports
    .slice(0, 8)
    .map((each) => `${quote(each.name ?? '')} ${each.port ?? 'any'}/${(each.protocol ?? 'TCP').slice(0, 8)}`);
  const what = choice === undefined ? 'TCP port' : `TCP port ${typeof choice === 'string' ? quote(choice) : choice}`;
  return `has no ${what} (it has ${there.join(', ')}); check registries[].port`;
}

function readEndpoint(raw: unknown, { port, secure }: ChosenPort, onFlaw: OnFlaw): Endpoint | undefined {
  const parsed = endpointSchema.safeParse(raw);
  if (!parsed.success) {
    onFlaw('', explain(parsed.error));
    return undefined;
  }
  const { addresses, conditions, zone, nodeName, targetRef } = parsed.data;
  // "No semantics are defined for additional addresses beyond the first, and kube-proxy does not look at them."
  const address = addresses[0] ?? '';
  const host = canonicalHost(address);
  if (host === undefined) {
    onFlaw(address, `${quote(address)} is neither an IP address nor a host name`);
    return undefined;
  }
  const ready = conditions?.ready ?? true;
  return {
    host,
    port,
    secure,
    ready,
    serving: conditions?.serving ?? ready,
    terminating: conditions?.terminating ?? false,
    zone: zone ?? undefined,
    node: nodeName ?? undefined,
    pod: targetRef?.kind === 'Pod' ? (targetRef.name ?? undefined) : undefined,
  };
}
