import { dirname, resolve } from 'node:path';
import { parseDocument } from 'yaml';
import { z } from 'zod';
import { messageOf } from '../network-fault.ts';
import { explain, quote } from '../record.ts';

/** A text in the kubeconfig itself, or the file that it names. */
export type Source =
  { readonly kind: 'text'; readonly text: string } | { readonly kind: 'file'; readonly file: string };

export interface KubeconfigAccess {
  readonly server: string;
  readonly ca: Source | undefined;
  readonly cert: Source | undefined;
  readonly key: Source | undefined;
  readonly token: Source | undefined;
  readonly verify: boolean;
  readonly serverName: string | undefined;
}

export type ParsedKubeconfig =
  { readonly ok: true; readonly access: KubeconfigAccess } | { readonly ok: false; readonly why: string };

/** A key that is missing, null or empty means the same. */
const text = z
  .string()
  .nullish()
  .transform((value) => value ?? '');
const cluster = z.object({
  server: z.string(),
  'certificate-authority': text,
  'certificate-authority-data': text,
  'insecure-skip-tls-verify': z.boolean().nullish(),
  'tls-server-name': text,
  'proxy-url': text,
});
const user = z.object({
  token: text,
  tokenFile: text,
  'client-certificate': text,
  'client-certificate-data': text,
  'client-key': text,
  'client-key-data': text,
  username: text,
  as: text,
  exec: z.object({ command: text }).nullish(),
  'auth-provider': z.object({ name: text }).nullish(),
});
const context = z.object({ cluster: z.string(), user: text });
const named = z.array(z.looseObject({ name: z.string() })).max(10_000);
const kubeconfig = z.object({
  'current-context': text,
  clusters: named.nullish(),
  users: named.nullish(),
  contexts: named.nullish(),
});

type Cluster = z.output<typeof cluster>;
type User = z.output<typeof user>;

class Unusable extends Error {}

/** Reads one kubeconfig file. Nothing in it is executed: exec plugins and auth providers are refused. */
export function parseKubeconfig(source: string, file: string, wanted: string | undefined): ParsedKubeconfig {
  try {
    return { ok: true, access: read(source, dirname(file), wanted) };
  } catch (error) {
    return { ok: false, why: messageOf(error).slice(0, 500) };
  }
}

function read(source: string, folder: string, wanted: string | undefined): KubeconfigAccess {
  const document = parseDocument(source, { logLevel: 'silent' });
  const [problem] = document.errors;
  if (problem) throw new Unusable(`not YAML: ${problem.message.split('\n')[0] ?? ''}`);
  const parsed = kubeconfig.safeParse(document.toJS({ maxAliasCount: 100 }));
  if (!parsed.success) throw new Unusable(explain(parsed.error));
  const { clusters, users, contexts } = parsed.data;
  const name = wanted ?? parsed.data['current-context'];
  if (name === '') throw new Unusable('it has no current-context: set registries[].context');
  const { cluster: clusterName, user: userName } = find(
    context,
    contexts,
    'context',
    name,
    '; check registries[].context',
  );
  const where = find(cluster, clusters, 'cluster', clusterName);
  const who = userName === '' ? undefined : find(user, users, 'user', userName);
  if (who) refuseForeign(who, userName);
  return { ...placeOf(where, folder, clusterName), ...identityOf(who, folder) };
}

function find<T>(
  schema: z.ZodType<T>,
  list: readonly { readonly name: string }[] | null | undefined,
  kind: string,
  name: string,
  advice = '',
): T {
  const entry = list?.find((each) => each.name === name);
  if (!entry) throw new Unusable(`it has no ${kind} ${quote(name)}${advice}`);
  const parsed = schema.safeParse(new Map(Object.entries(entry)).get(kind));
  if (!parsed.success) throw new Unusable(`${kind} ${quote(name)}: ${explain(parsed.error)}`);
  return parsed.data;
}

const INSTEAD =
  'make a token of a service account (kubectl create token, or a Secret of type kubernetes.io/service-account-token) and name its file as tokenFile';

/** What would let us in as somebody else than the file says, or by running a program, is not passed over silently. */
function refuseForeign(who: User, name: string): void {
  const refuse = (what: string): never => {
    throw new Unusable(`user ${quote(name)} ${what}; ${INSTEAD}`);
  };
  if (who.exec) refuse(`uses the exec plugin ${quote(who.exec.command)}, and no program is run for a registry`);
  if (who['auth-provider']) refuse(`uses the auth-provider ${quote(who['auth-provider'].name)}, which is not known`);
  if (who.username !== '') refuse('has a name and a password, which Kubernetes no longer takes');
  if (who.as !== '') refuse('impersonates another user, which is not supported');
}

function placeOf(
  where: Cluster,
  folder: string,
  name: string,
): Pick<KubeconfigAccess, 'server' | 'ca' | 'verify' | 'serverName'> {
  if (where['proxy-url'] !== '') {
    throw new Unusable(`cluster ${quote(name)} is behind a proxy-url, which is not supported`);
  }
  return {
    server: where.server,
    ca: sourceOf(where['certificate-authority-data'], where['certificate-authority'], folder),
    verify: where['insecure-skip-tls-verify'] !== true,
    serverName: where['tls-server-name'] === '' ? undefined : where['tls-server-name'],
  };
}

function identityOf(who: User | undefined, folder: string): Pick<KubeconfigAccess, 'cert' | 'key' | 'token'> {
  // As kubectl: a tokenFile goes before a token, because it is what gets renewed.
  const tokenFile = who?.tokenFile ?? '';
  const token = who?.token ?? '';
  const inline: Source | undefined = token === '' ? undefined : { kind: 'text', text: token };
  return {
    cert: sourceOf(who?.['client-certificate-data'] ?? '', who?.['client-certificate'] ?? '', folder),
    key: sourceOf(who?.['client-key-data'] ?? '', who?.['client-key'] ?? '', folder),
    token: tokenFile === '' ? inline : { kind: 'file', file: resolve(folder, tokenFile) },
  };
}

/** `…-data` is base64 and goes before the file, as with kubectl. */
function sourceOf(data: string, file: string, folder: string): Source | undefined {
  if (data !== '') return { kind: 'text', text: Buffer.from(data, 'base64').toString('utf8') };
  return file === '' ? undefined : { kind: 'file', file: resolve(folder, file) };
}
