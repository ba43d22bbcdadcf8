import type { Check, CheckKind } from '../core/check.ts';

/** Whether two checks ask the same question, however often and with whatever thresholds. */
export function asksTheSame(one: Check, other: Check): boolean {
  if (one === other) return true;
  return questionOf(one) === questionOf(other);
}

function questionOf(check: Check): string {
  return JSON.stringify([check.port ?? 0, ...kindOf(check)]);
}

function kindOf(check: CheckKind): readonly unknown[] {
  switch (check.type) {
    case 'tcp':
    case 'ttl':
      return [check.type];
    case 'http':
    case 'https':
      return [
        check.type,
        check.path,
        check.method,
        check.statuses,
        check.headers,
        check.bodyContains,
        check.host,
        check.verifyTls,
        check.caFile,
      ];
    case 'grpc':
      return [check.type, check.grpcService, check.tls, check.host, check.verifyTls ?? true, check.caFile];
    case 'script':
      return [check.type, check.command];
  }
}
