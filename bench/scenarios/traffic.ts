import type { RunningPeer } from '../lab/lab.ts';
import type { OpenLoopOptions, OpenLoopResult } from '../load/open-loop.ts';
import type { LoadRequest } from '../load/request.ts';
import { BENCH_HOST } from '../peers/peer.ts';
import { withCost } from './cost.ts';
import type { Figures, Turn } from './scenario.ts';

export const get1k = (port: number, host = BENCH_HOST): LoadRequest => ({
  port,
  host,
  method: 'GET',
  path: '/1k',
  bodyBytes: 0,
  close: false,
});

/** What the settings do not say, or what is to hold whatever they say. */
export type TrafficOptions = Pick<OpenLoopOptions, 'warmUpMs' | 'ratePerS'> &
  Partial<Pick<OpenLoopOptions, 'connections' | 'durationMs' | 'pace'>> & { readonly host?: string };

/**
 * GET of 1 KiB in an open loop, by the settings of the turn and on the same schedule for every peer of a round; and what
 * it cost the peer. `ratePerS` holds where the settings have none.
 */
export function openLoopTraffic(
  { lab, round, settings }: Turn,
  peer: RunningPeer,
  { host, ratePerS, ...own }: TrafficOptions,
): Promise<{ outcome: OpenLoopResult; figures: Figures }> {
  const { connections, durationMs } = settings;
  const options: OpenLoopOptions = {
    connections,
    durationMs,
    ...own,
    ratePerS: settings.ratePerS ?? ratePerS,
    request: get1k(peer.port, host),
    seed: round,
  };
  return withCost(peer, () => lab.generators.openLoop(options));
}
