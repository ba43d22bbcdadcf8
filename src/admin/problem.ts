/** RFC 9457. `extra` are members of our own, beside the standard ones. */
export function problem(
  status: number,
  detail: string,
  extra: Readonly<Record<string, unknown>> = {},
  headers: Readonly<Record<string, string>> = {},
): Response {
  const body = { type: 'about:blank', title: TITLES.get(status) ?? 'Error', status, detail, ...extra };
  return new Response(`${JSON.stringify(body)}\n`, {
    status,
    headers: { 'content-type': 'application/problem+json', ...headers },
  });
}

const TITLES: ReadonlyMap<number, string> = new Map([
  [400, 'Bad request'],
  [401, 'Unauthorized'],
  [403, 'Forbidden'],
  [404, 'Not found'],
  [405, 'Method not allowed'],
  [413, 'Content too large'],
  [409, 'Conflict'],
  [415, 'Unsupported media type'],
  [422, 'Configuration refused'],
  [500, 'Internal error'],
  [503, 'Service unavailable'],
]);
