import { expect, it } from 'vitest';
import { ManualClock } from '../../src/core/clock.ts';
import { SocketBudget } from '../../src/core/socket-budget.ts';
import { BoundsWatch } from '../../src/gateway/bounds.ts';
import type { Logger } from '../../src/telemetry/log.ts';
import { load } from '../config/load-text.ts';

it('what is held back is said when it begins and when it is over, requests and connections apart', () => {
  const clock = new ManualClock();
  const said: string[] = [];
  const say = (message: string): void => void said.push(message);
  const log: Logger = { trace: say, debug: say, info: say, warn: say, error: say, child: () => log };
  const sockets = new SocketBudget({ openFiles: undefined });
  const { limits } = load('').gateway;
  let refused = 0;
  const watch = new BoundsWatch({ clock, log, sockets, limits: () => limits, refusedRequests: () => refused });
  watch.start();
  clock.advance(5000);
  expect(said).toEqual([]);
  for (let second = 0; second < 5; second++) {
    refused += 100;
    clock.advance(1000);
  }
  expect(said).toEqual(['requests are refused: gateway.limits.requests is reached']);
  sockets.refuseClient('limit');
  clock.advance(1000);
  expect(said).toHaveLength(2);
  expect(said[1]).toBe('connections are refused: a limit is reached');
  clock.advance(20_000);
  expect(said.slice(2)).toEqual(['requests are no longer refused', 'connections are no longer refused']);
  watch.close();
  expect(clock.pending).toBe(0);
});
