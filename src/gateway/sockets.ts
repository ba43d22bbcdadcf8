import { closeSync } from 'node:fs';
import type { HostPort } from '../config/config.ts';
import type { GivenSockets } from '../worker/place.ts';

/** A listening socket, and what it is for: `gateway.listen`, `admin.listen`, `registries.NAME.listen`. */
export interface NamedSocket extends HostPort {
  readonly setting: string;
  readonly fd: number;
  /** Whoever opened it, systemd say, holds it open when we end: it must be the only one at its address. */
  readonly held?: boolean | undefined;
}

/**
 * Listening sockets that were open before this process began: of a predecessor, or of systemd. Each is handed out once,
 * to whoever listens at its address.
 */
export class InheritedSockets {
  #sockets: NamedSocket[];

  constructor(sockets: readonly NamedSocket[] = []) {
    this.#sockets = [...sockets];
  }

  has(setting: string, { host, port }: HostPort): boolean {
    return this.#sockets.some((each) => each.setting === setting && each.host === host && each.port === port);
  }

  /** One for this address. */
  take(setting: string, { host, port }: HostPort): number | undefined {
    const at = this.#sockets.findIndex((each) => each.setting === setting && each.host === host && each.port === port);
    return at < 0 ? undefined : this.#sockets.splice(at, 1)[0]?.fd;
  }

  /** All of what one setting names: several threads may have had one each. */
  takeAll(setting: string, address: HostPort): GivenSockets {
    const fds: number[] = [];
    const held = this.#sockets.some((each) => each.setting === setting && each.held === true);
    for (let fd = this.take(setting, address); fd !== undefined; fd = this.take(setting, address)) fds.push(fd);
    return { fds, held };
  }

  /** Closes what nobody wanted, so that no client waits in a queue that nobody empties. */
  closeRest(): readonly NamedSocket[] {
    const rest = this.#sockets;
    this.#sockets = [];
    for (const { fd } of rest) closeSync(fd);
    return rest;
  }
}

/** What becomes of listeners where `wanted` is to be listened on: an address that is in both lists stays open. */
export function compareAddresses<T extends { readonly configured: HostPort }>(
  open: readonly T[],
  wanted: readonly HostPort[],
): { readonly kept: readonly T[]; readonly gone: readonly T[]; readonly added: readonly HostPort[] } {
  const kept: T[] = [];
  const gone = [...open];
  const added = wanted.filter(({ host, port }) => {
    const at = gone.findIndex(({ configured }) => configured.host === host && configured.port === port);
    if (at >= 0) kept.push(...gone.splice(at, 1));
    return at < 0;
  });
  return { kept, gone, added };
}
