/** What is wrong with one field of a request. `field` is a path such as `metadata.team` or `check.port`. */
export interface FieldError {
  readonly field: string;
  readonly message: string;
}

export interface Problem {
  readonly status: number;
  readonly title: string;
  readonly detail?: string;
  readonly errors?: readonly FieldError[];
  readonly headers?: Readonly<Record<string, string>>;
}

/** RFC 9457, with `errors` naming the fields. */
export function problemResponse({ status, title, detail, errors, headers }: Problem): Response {
  return new Response(`${JSON.stringify({ title, status, detail, errors })}\n`, {
    status,
    headers: { 'content-type': 'application/problem+json', 'cache-control': 'no-store', ...headers },
  });
}

export function invalid(...errors: readonly FieldError[]): Problem {
  return { status: 400, title: 'The request is not valid', errors };
}

/** Nothing was changed; the same request may work in a moment. */
export function unavailable(detail: string): Problem {
  return { status: 503, title: 'The registry cannot do this now', detail, headers: { 'retry-after': '1' } };
}
