import { describe, expect, it } from 'vitest';
import { reasonsNotReady } from '../../src/gateway/admin-api.ts';
import { metricSources } from '../../src/gateway/metric-sources.ts';
import { FleetHarness } from '../upstream/fleet-harness.ts';

const running = { stopping: false, starting: false, stalled: false };
const heard = { name: 'local', ready: true, lastError: undefined };
const silent = { name: 'consul', ready: false, lastError: undefined };

describe('readiness', () => {
  it('has nothing in its way where every registry was heard and clients are let in', () => {
    expect(reasonsNotReady([heard], running)).toEqual([]);
  });

  it('names each registry that has not answered, with its last error', () => {
    const refused = {
      ...silent,
      name: 'etcd',
      lastError: { message: 'connect ECONNREFUSED', refused: false, wallMs: 1 },
    };
    expect(reasonsNotReady([heard, silent, refused], { ...running, starting: true })).toEqual([
      { component: 'consul', reason: 'has not answered yet, and no saved set is loaded' },
      { component: 'etcd', reason: 'has not answered yet, and no saved set is loaded: connect ECONNREFUSED' },
    ]);
  });

  it('says that the gateway starts where no registry is to blame', () => {
    expect(reasonsNotReady([heard], { ...running, starting: true })).toEqual([
      { component: 'gateway', reason: 'starting' },
    ]);
  });

  it('says that it stops and nothing else, since nobody need wait for the rest', () => {
    expect(reasonsNotReady([silent], { stopping: true, starting: true, stalled: true })).toEqual([
      { component: 'gateway', reason: 'stopping' },
    ]);
  });
});

describe('a scrape', () => {
  const sources = (figures: Readonly<Record<string, number>>) =>
    metricSources({
      fleet: new FleetHarness().fleet,
      registries: { statuses: () => [] },
      threads: {
        sum: (figure) => figures[figure] ?? 0,
        get census(): never {
          throw new Error('not asked for here');
        },
      },
      bounds: { report: () => ({ limits: [], refused: [] }) },
      log: { dropped: 3 },
      logs: { accessDropped: 4 },
    });

  it('tells connections with a request from idle ones, on both sides', () => {
    expect(sources({ connections: 10, requests: 3, idleUpstream: 5 }).connections?.()).toEqual({
      downstreamActive: 3,
      downstreamIdle: 7,
      upstreamActive: 3,
      upstreamIdle: 5,
    });
  });

  it('never counts fewer than no idle connections, whatever moved between two figures', () => {
    expect(sources({ connections: 2, requests: 3 }).connections?.()).toMatchObject({
      downstreamActive: 2,
      downstreamIdle: 0,
    });
  });

  it('has the lines that either log has dropped', () => {
    expect([...(sources({}).droppedLines?.() ?? [])]).toEqual([
      ['events', 3],
      ['access', 4],
    ]);
  });

  it('is said where every data-plane thread dies again and again', () => {
    expect(reasonsNotReady([heard], { ...running, stalled: true })).toEqual([
      { component: 'data plane', reason: 'every thread dies again and again: see the log' },
    ]);
  });
});
