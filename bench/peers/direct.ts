import type { Peer } from './peer.ts';

/** No proxy at all: what the generator and the origin cost by themselves. */
export const direct: Peer = {
  name: 'direct',
  version: () => 'no proxy',
  launch: () => undefined,
};
