import { caddy } from './caddy.ts';
import { direct } from './direct.ts';
import { fairlead } from './fairlead.ts';
import { haproxy } from './haproxy.ts';
import { nginx } from './nginx.ts';
import { nodeUndici } from './node-undici.ts';
import type { Peer } from './peer.ts';

/** In the order in which they take their turns. */
export const allPeers: readonly Peer[] = [direct, fairlead, haproxy, nginx, caddy, nodeUndici];
