import { z } from 'zod';
import { RegistryRefusal } from '../backend.ts';
import { RegistryUnreachable, type RegistryLabel } from '../network-fault.ts';

/** What an operator must know to act on a refusal. */
export interface VerdictContext extends RegistryLabel {
  readonly endpoint: string;
  readonly namespace: string;
  /** Where our credentials come from. */
  readonly identity: string;
}

const statusSchema = z.object({
  kind: z.literal('Status'),
  code: z.number().int().nullish(),
  reason: z.string().nullish(),
  message: z.string().nullish(),
});

/** A `Status` object: how the API server says no, as a body or as an ERROR event inside a 200. */
export interface ApiStatus {
  readonly code: number;
  readonly message: string;
}

/** `httpStatus`: the code where the object itself names none. */
export function readStatus(object: unknown, httpStatus: number): ApiStatus {
  const parsed = statusSchema.safeParse(object);
  if (!parsed.success) return { code: httpStatus, message: 'no explanation' };
  const { code, reason, message } = parsed.data;
  const said = (message ?? reason ?? '').replaceAll(/[^\x20-\x7e]+/g, ' ').trim();
  // Old servers report an expired revision with a reason and no code.
  const fallback = reason === 'Expired' || reason === 'Gone' ? 410 : httpStatus;
  return { code: code ?? fallback, message: said === '' ? 'no explanation' : said.slice(0, 300) };
}

/** The history we asked for, or the rest of a list, is gone: what is known must be listed again. */
export class Expired extends RegistryUnreachable {
  override readonly name = 'Expired';
}

/** The error to throw for the server's verdict: a refusal where only an operator can help, a loss otherwise. */
export function errorOf({ code, message }: ApiStatus, context: VerdictContext): Error {
  const { endpoint, namespace, identity } = context;
  const who = `registry "${context.registry}" at ${endpoint}`;
  switch (code) {
    case 401:
      return new RegistryRefusal(`${who} does not accept our credentials (401: ${message}); check ${identity}`);
    case 403:
      return new RegistryRefusal(
        `${who} refused us (403: ${message}); give ${identity} a Role in namespace ${namespace} with the verbs get, list, watch on endpointslices of discovery.k8s.io`,
      );
    case 404:
      return lost(
        context,
        `knows no EndpointSlices (404: ${message}): Kubernetes before 1.21, or no API server; ${check(context)}`,
      );
    case 400:
    case 422:
      return new RegistryRefusal(
        `${who} refused our query (${code}: ${message}); check registries[].labelSelector and .namespaces`,
      );
    case 410: {
      const text = `no longer has the history we asked for (410: ${message})`;
      return new Expired(context, endpoint, { fault: 'unwell', text });
    }
    default:
      if (code === 429 || code >= 500)
        return lost(context, `answered that it cannot serve just now (${code}: ${message})`);
      return lost(context, `answered as an API server would not (${code}: ${message}); ${check(context)}`);
  }
}

function lost(context: VerdictContext, text: string): RegistryUnreachable {
  return new RegistryUnreachable(context, context.endpoint, { fault: 'unwell', text });
}

function check({ addressSetting }: RegistryLabel): string {
  return `check registries[].${addressSetting}`;
}
