import { API_HEADER, API_VERSION } from '../admin/reports.ts';
import { formatDuration } from '../core/units.ts';
import { findAdmin, type AdminAddress, type AdminFlags } from './admin-address.ts';
import { printable } from './table.ts';
import type { CliContext } from './verb.ts';

/** What came of one call. `status` is missing where there was no answer in HTTP. */
export type AdminAnswer =
  | { readonly ok: true; readonly body: unknown }
  | { readonly ok: false; readonly status?: number; readonly message: string; readonly body?: unknown };

const TIMEOUT_MS = 5000;

/** Asks the admin API of a running gateway; every call has a deadline. */
export class AdminClient {
  readonly address: AdminAddress;
  readonly #ctx: CliContext;

  constructor(ctx: CliContext, address: AdminAddress) {
    this.#ctx = ctx;
    this.address = address;
  }

  get(path: string, timeoutMs = TIMEOUT_MS): Promise<AdminAnswer> {
    return this.#ask('GET', path, timeoutMs);
  }

  post(path: string, timeoutMs = TIMEOUT_MS): Promise<AdminAnswer> {
    return this.#ask('POST', path, timeoutMs);
  }

  async #ask(method: 'GET' | 'POST', path: string, timeoutMs: number): Promise<AdminAnswer> {
    const { fetch, clock, signal } = this.#ctx;
    const { url, token } = this.address;
    const deadline = new AbortController();
    const cancel = clock.after(timeoutMs, () => {
      deadline.abort();
    });
    try {
      const response = await fetch(`${url}${path}`, {
        method,
        // A token must not follow to wherever an answer points.
        redirect: 'error',
        headers: { accept: 'application/json', ...(token === undefined ? {} : { authorization: `Bearer ${token}` }) },
        signal: AbortSignal.any([signal, deadline.signal]),
      });
      return read(response, await response.text(), this.address);
    } catch (error) {
      if (signal.aborted) return { ok: false, message: 'interrupted' };
      const why = deadline.signal.aborted ? `no answer within ${formatDuration(timeoutMs)}` : reasonOf(error);
      return { ok: false, message: `cannot reach the admin API at ${url} (from ${this.address.from}): ${why}` };
    } finally {
      cancel();
    }
  }
}

/** The client for a verb, or undefined once it has been said what is wrong. */
export async function openAdmin(ctx: CliContext, flags: AdminFlags): Promise<AdminClient | undefined> {
  const address = await findAdmin(ctx, flags);
  if (typeof address !== 'string') return new AdminClient(ctx, address);
  ctx.stderr.write(`fairlead: ${address}\n`);
  return undefined;
}

/** Writes what went wrong. The exit code of a verb that failed. */
export function complain(ctx: CliContext, message: string): 1 {
  ctx.stderr.write(`fairlead: ${printable(message)}\n`);
  return 1;
}

export function printJson(ctx: CliContext, value: unknown): 0 {
  ctx.stdout.write(`${JSON.stringify(value, null, 2)}\n`);
  return 0;
}

function read({ status, ok, headers }: Response, text: string, { url, token }: AdminAddress): AdminAnswer {
  const spoken = headers.get(API_HEADER);
  if (spoken !== API_VERSION) {
    const what = spoken === null ? 'no Fairlead admin API' : `an admin API of version ${spoken}, not ${API_VERSION}`;
    return { ok: false, status, message: `what answers at ${url} is ${what} (HTTP ${status})` };
  }
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch {
    return { ok: false, status, message: `the answer of ${url} broke off (HTTP ${status})` };
  }
  if (ok) return { ok, body };
  if (status === 401) {
    const message =
      token === undefined
        ? 'the admin API asks for a token: set FAIRLEAD_ADMIN_TOKEN, or admin.token in the file'
        : 'the admin API has another token than FAIRLEAD_ADMIN_TOKEN, or admin.token in the file, says';
    return { ok: false, status, body, message };
  }
  return { ok: false, status, body, message: problemText(body, status) };
}

/** The detail of a problem document, with what may have been meant. */
function problemText(body: unknown, status: number): string {
  const { detail, near } = typeof body === 'object' && body !== null ? (body as Record<string, unknown>) : {};
  const names = Array.isArray(near) ? near.filter((name) => typeof name === 'string') : [];
  const hint = names.length === 0 ? '' : `; did you mean ${names.join(' or ')}?`;
  return `${typeof detail === 'string' ? detail : `HTTP ${status}`}${hint}`;
}

function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  // fetch says "fetch failed", and why is in the cause.
  const { cause } = error;
  const first: unknown = cause instanceof AggregateError ? cause.errors[0] : cause;
  if (!(first instanceof Error)) return error.message;
  const refused = (first as NodeJS.ErrnoException).code === 'ECONNREFUSED';
  if (refused) return `nothing listens there (${first.message}); does the gateway run, and is this its admin.listen?`;
  return first.message === '' ? error.message : first.message;
}
