import type { RequestHead } from '../http1/request-head.ts';
import { LOWER } from '../http1/syntax.ts';
import type { Route, Router } from './context.ts';

/** Remembers the route of the last host: the requests of one connection nearly always ask for the same one. */
export class RouteMemo {
  readonly #router: Router;
  #host: Buffer | undefined;
  #revision = -1;
  #route: Route | undefined;

  constructor(router: Router) {
    this.#router = router;
  }

  find(head: RequestHead, buffer: Buffer): Route | undefined {
    const length = head.hostEnd - head.hostStart;
    const host = this.#host;
    if (this.#route && this.#revision === this.#router.revision && host?.length === length) {
      let i = 0;
      while (i < length && host[i] === LOWER[buffer[head.hostStart + i] as number]) i++;
      if (i === length) return this.#route;
    }
    const name = buffer.toString('latin1', head.hostStart, head.hostEnd).toLowerCase();
    this.#host = Buffer.from(name, 'latin1');
    this.#revision = this.#router.revision;
    this.#route = this.#router.route(name);
    return this.#route;
  }

  forget(): void {
    this.#host = undefined;
    this.#route = undefined;
  }
}
