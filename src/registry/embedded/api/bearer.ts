import { createHash, timingSafeEqual } from 'node:crypto';

/** Whether an `Authorization` header carries the token. Takes the same time whatever it carries. */
export function bearerCheck(token: string): (authorization: string | undefined) => boolean {
  const wanted = digest(token);
  return (authorization = '') => {
    const [, given = ''] = /^bearer +([^\s]+) *$/i.exec(authorization) ?? [];
    // Digests are of one length, as the comparison needs, and tell nothing of the length of the token.
    return timingSafeEqual(digest(given), wanted);
  };
}

function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
