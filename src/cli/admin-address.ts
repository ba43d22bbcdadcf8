import { createReadStream } from 'node:fs';
import type { AdminConfig } from '../config/config.ts';
import { ConfigDocument } from '../config/document.ts';
import { adminSchema } from '../config/gateway-schema.ts';
import { loadConfig, MAX_CONFIG_BYTES, whyUnreadable } from '../config/load.ts';
import { isGroup } from '../config/merge-policy.ts';
import { CONFIG_FLAG, configFile, issueLine } from './run-options.ts';
import type { CliContext } from './verb.ts';

/** Flags of every verb that asks a running gateway. */
export const ADMIN_FLAGS = { ...CONFIG_FLAG, admin: { type: 'string' }, json: { type: 'boolean' } } as const;
export const ADMIN_USAGE = '[-c FILE] [--admin URL] [--json]';

export interface AdminAddress {
  /** Without a slash at its end. */
  readonly url: string;
  readonly token: string | undefined;
  /** Where the address comes from, for messages. */
  readonly from: string;
}

export interface AdminFlags {
  readonly admin?: string | undefined;
  readonly config?: string | undefined;
}

const DEFAULT_URL = 'http://127.0.0.1:9901';

/**
 * Where the admin API is: `--admin`, else the file of `-c`, else `FAIRLEAD_ADMIN`, else the file that `run` would take,
 * else the default address. `FAIRLEAD_ADMIN_TOKEN` comes before the token of a file. A string is what is wrong.
 */
export async function findAdmin(ctx: CliContext, flags: AdminFlags): Promise<AdminAddress | string> {
  const token = ctx.env['FAIRLEAD_ADMIN_TOKEN'] || undefined;
  if (flags.admin !== undefined) return fromUrl(flags.admin, '--admin', token);
  const named = ctx.env['FAIRLEAD_ADMIN'];
  if (flags.config === undefined && named !== undefined && named !== '') return fromUrl(named, 'FAIRLEAD_ADMIN', token);
  const { file, path } = configFile(ctx, flags.config);
  let text: string;
  try {
    text = await readText(path);
  } catch (error) {
    const wanted = flags.config !== undefined || Boolean(ctx.env['FAIRLEAD_CONFIG']);
    if (!wanted && isMissing(error)) return { url: DEFAULT_URL, token, from: 'the default address' };
    return `${file} cannot be read: ${whyUnreadable(error)}`;
  }
  const admin = adminOf(text, file, ctx);
  if (typeof admin === 'string') return admin;
  return { url: urlOf(admin), token: token ?? admin.token, from: file };
}

function fromUrl(text: string, from: string, token: string | undefined): AdminAddress | string {
  const withScheme = /^[a-z]+:\/\//i.test(text) ? text : `http://${text}`;
  const url = URL.parse(withScheme);
  if (!url || (url.protocol !== 'http:' && url.protocol !== 'https:')) {
    return `${from} wants a URL such as ${DEFAULT_URL}`;
  }
  if (url.username !== '' || url.password !== '') {
    return `${from} must not hold credentials: the token goes into FAIRLEAD_ADMIN_TOKEN`;
  }
  return { url: `${url.origin}${url.pathname.replace(/\/+$/, '')}`, token, from };
}

async function readText(path: string): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of createReadStream(path, { end: MAX_CONFIG_BYTES })) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString('utf8');
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT';
}

/**
 * The admin section. A gateway goes on with its old configuration when the file has errors, and has to be reachable
 * then more than ever: what is wrong elsewhere in the file does not matter here.
 */
function adminOf(text: string, file: string, ctx: CliContext): AdminConfig | string {
  const whole = loadConfig(text, { file, env: ctx.env });
  if (whole.ok) return whole.config.admin;
  const document = ConfigDocument.parse(text, ctx.env);
  const concerned = document.broken || document.problems.some(({ path }) => path[0] === 'admin');
  const section = isGroup(document.value) ? document.value['admin'] : undefined;
  const parsed = adminSchema.safeParse(section);
  if (!concerned && parsed.success) return parsed.data;
  const about = whole.issues.find(({ path }) => path.startsWith('admin')) ?? whole.issues[0];
  return about ? issueLine(about) : `${file} does not say where the admin API is`;
}

/** Where a listener is reached from this machine. */
function urlOf({ listen: { host, port } }: AdminConfig): string {
  if (host === '0.0.0.0') return `http://127.0.0.1:${port}`;
  if (host === '::') return `http://[::1]:${port}`;
  return `http://${host.includes(':') ? `[${host}]` : host}:${port}`;
}
