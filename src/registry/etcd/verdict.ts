import { RegistryRefusal } from '../backend.ts';
import { RegistryUnreachable, type RegistryLabel } from '../network-fault.ts';
import type { GrpcStatus } from './grpc-call.ts';

/** What an operator must know to act on a refusal. */
export interface VerdictContext extends RegistryLabel {
  readonly endpoint: string;
  readonly prefix: string;
  readonly username: string | undefined;
}

const INVALID_ARGUMENT = 3;
const PERMISSION_DENIED = 7;
const OUT_OF_RANGE = 11;
const UNAUTHENTICATED = 16;

/** The server has forgotten our token, or has a newer table of users than the one it was made from: ask for a new one. */
export function wantsNewToken(status: GrpcStatus): boolean {
  return status.code === UNAUTHENTICATED || /invalid auth token|auth store is old/.test(status.message);
}

/** What we asked for is older than the history that the server keeps. */
export function isCompacted(status: GrpcStatus): boolean {
  return status.code === OUT_OF_RANGE && status.message.includes('compacted');
}

/** Authentication is off: a name and password are not needed, and no reason to stay away. */
export function isAuthOff(status: GrpcStatus): boolean {
  return status.message.includes('authentication is not enabled');
}

/** The error to throw for the server's verdict: a refusal where only an operator can help, a loss otherwise. */
export function errorOf({ code, message }: GrpcStatus, context: VerdictContext): Error {
  const who = `registry "${context.registry}" at ${context.endpoint}`;
  const advice = refusalAdvice(code, message, context);
  if (advice !== undefined) return new RegistryRefusal(`${who} refused us: ${message}; ${advice}`);
  const text = `answered that it cannot serve: ${message} (gRPC status ${code})`;
  return new RegistryUnreachable(context, context.endpoint, {
    fault: 'unwell',
    text: `${text}; is its cluster healthy?`,
  });
}

function refusalAdvice(code: number, message: string, context: VerdictContext): string | undefined {
  const user = context.username === undefined ? 'this client' : `user "${context.username}"`;
  if (code === PERMISSION_DENIED || message.includes('permission denied')) {
    const grant = `etcdctl role grant-permission <role> read --prefix ${context.prefix}`;
    return `grant a role of ${user} to read it (${grant}), or check registries[].prefix and registries[].username`;
  }
  if (code === INVALID_ARGUMENT && message.includes('user name is empty')) {
    return 'it asks who we are: set registries[].username and registries[].password';
  }
  if (code === UNAUTHENTICATED || /authentication failed|invalid auth token|user ID or password/.test(message)) {
    return 'check registries[].username and registries[].password';
  }
  return undefined;
}
