import { churn } from './churn.ts';
import { connectionPerRequest, keepAlive, largeBodies, post, twoThreads } from './closed-loop.ts';
import { idleConnections } from './idle.ts';
import { memory } from './memory.ts';
import { openLoopLatency } from './open-loop.ts';
import { manyInstances } from './many-instances.ts';
import { probes } from './probes.ts';
import type { Scenario } from './scenario.ts';
import { snapshot } from './snapshot.ts';
import { threadsTail } from './threads-tail.ts';

export const allScenarios: readonly Scenario[] = [
  keepAlive,
  twoThreads,
  largeBodies,
  openLoopLatency,
  connectionPerRequest,
  idleConnections,
  post,
  probes,
  snapshot,
  manyInstances,
  memory,
  churn,
  threadsTail,
];
