import { OPEN } from '../breaker/columns.ts';
import { readFileSync } from 'node:fs';
import type { AddressPolicy } from '../core/address.ts';
import type { Clock } from '../core/clock.ts';
import type { ProbeState } from '../core/health.ts';
import type { Instance } from '../core/instance.ts';
import type { Random } from '../core/random.ts';
import type { SocketBudget } from '../core/socket-budget.ts';
import type { TargetEvidence } from '../health/evidence.ts';
import { DEFAULT_LIMITS, type ProberLimits } from '../health/limits.ts';
import { KeptConnections } from '../health/probes/kept-connections.ts';
import { createProbeFactory, type ProbeFactoryOptions } from '../health/probes/create.ts';
import type { CreateProbe } from '../health/probe.ts';
import { Prober } from '../health/prober.ts';
import type { ProbeResult } from '../health/threshold.ts';
import type { Logger } from '../telemetry/log.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import type { Member, ServiceDetail } from '../upstream/directory.ts';
import type { Fleet } from '../upstream/fleet.ts';
import { checksOf } from './checks.ts';
import { descriptorLimit } from './descriptors.ts';
import type { FleetRouter } from './router.ts';

export interface ProbingOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly fleet: Fleet;
  readonly metrics: Metrics;
  readonly router: FleetRouter;
  readonly log: Logger;
  /** Where probes may connect to. */
  readonly addresses: AddressPolicy;
  /** What script probes run with. */
  readonly script: ProbeFactoryOptions['script'];
  /** Where what probes have open is counted. */
  readonly sockets?: SocketBudget | undefined;
  /** In place of sockets and processes: for simulations. */
  readonly createProbe?: CreateProbe;
  /** Whether a registry of ours takes the heartbeats of an instance; where none does, nobody asks for its `ttl` checks. */
  readonly reportsItself?: (instance: Instance) => boolean;
}

/** The failing ones of a service are looked at together so often, and so many of its instances are gone through. */
const PEERS_EVERY_MS = 1000;
const PEERS_AT_MOST = 256;

const COUNT_MS = 100;

/** Every member of the fleet is probed for as long as it is there; what the prober finds goes to the fleet. */
export class Probing {
  readonly #prober: Prober;
  readonly #fleet: Fleet;
  readonly #clock: Clock;
  readonly #reportsItself: (instance: Instance) => boolean;
  #stopCounting: (() => void) | undefined;
  /** When the failing instances of a service were last looked at together. */
  readonly #lookedMs = new WeakMap<ServiceDetail, number>();

  constructor(options: ProbingOptions) {
    const { clock, random, fleet, metrics, router, log, addresses, script } = options;
    this.#fleet = fleet;
    this.#clock = clock;
    this.#reportsItself = options.reportsItself ?? ((): boolean => false);
    const { maxKept, concurrency } = probeSockets(descriptorLimit());
    const kept = new KeptConnections(maxKept);
    const readFile = (file: string): string => readFileSync(file, 'utf8');
    this.#prober = new Prober({
      clock,
      random,
      createProbe: options.createProbe ?? createProbeFactory({ clock, addresses, script, readFile, kept }),
      limits: { concurrency },
      onVerdict: (slot, state, evidence) => {
        this.#judge(slot, state, evidence.text);
      },
      onResult: (sample) => {
        metrics.probeTook(sample.type, sample.durationMs);
        metrics.probeLag(sample.lagMs);
        router.metersOf(sample.service)?.probe(sample.type, sample.outcome);
        if (sample.outcome === 'pass' || sample.outcome === 'degraded') this.#reached(sample.key, sample.durationMs);
      },
      onFreeze: (event) => {
        if (event.frozen) log.warn('probe verdicts are frozen: the gateway itself is in trouble', { ...event });
        else log.info('probe verdicts count again', { ...event });
      },
      trafficSuccessMs: (slot) => fleet.figures.lastSuccessMs[slot] || undefined,
    });
    if (options.sockets) this.#countLater(options.sockets, kept);
    fleet.listen({
      added: (member) => {
        this.#track(member);
      },
      updated: (member) => {
        this.#track(member);
      },
      removed: (member) => {
        this.#prober.untrack(member.slot);
      },
      // Traffic has found something out. Where nobody listens any more the probes agree in time, so that it is not tried
      // by a request when the breaker's time is over.
      transition: (member, gate, _from, to) => {
        if (gate === 'breaker' && to === 'open') this.#prober.look(member.slot);
      },
    });
  }

  /** Whether what instances say of themselves reaches this process: else their silence means nothing. */
  set hearing(hearing: boolean) {
    this.#prober.hearing = hearing;
  }

  /** The policy of services has changed. */
  reconfigure(): void {
    for (const service of this.#fleet.services.values()) {
      for (const member of service.members.values()) this.#track(member);
    }
  }

  /** An instance has said how it is: that answers its `ttl` checks. */
  report(service: string, id: string, result: ProbeResult, text: string): void {
    const member = this.#fleet.find(service, id);
    if (!member) return;
    for (const { type, name } of member.service.policy.checks) {
      if (type === 'ttl') this.#prober.accept(member.slot, name, result, text);
    }
  }

  evidenceOf(member: Member): TargetEvidence | undefined {
    return this.#prober.explain(member.slot);
  }

  close(): void {
    this.#stopCounting?.();
    this.#prober.stop();
  }

  #reached(slot: number, tookMs: number): void {
    const nowMs = this.#clock.now();
    const member = this.#fleet.memberBySlot(slot);
    if (!member) return;
    if (this.#fleet.figures.breaker[slot] === OPEN) member.breaker?.reached('a probe has reached it', nowMs - tookMs);
    const service = this.#fleet.services.get(member.service.name);
    if (service && member.health.probe === 'failing') this.#lookAtPeers(service, nowMs);
  }

  /** One that was gone is back: what took it away may be over for the others too. */
  #lookAtPeers(service: ServiceDetail, nowMs: number): void {
    if (nowMs - (this.#lookedMs.get(service) ?? -Infinity) < PEERS_EVERY_MS) return;
    this.#lookedMs.set(service, nowMs);
    let left = PEERS_AT_MOST;
    for (const { health, slot } of service.members.values()) {
      if (health.probe === 'failing' || health.breaker === 'open') this.#prober.look(slot);
      if (--left === 0) break;
    }
  }

  #countLater(sockets: SocketBudget, kept: KeptConnections): void {
    this.#stopCounting = this.#clock.after(COUNT_MS, () => {
      sockets.checks = this.#prober.stats.running + kept.kept;
      this.#countLater(sockets, kept);
    });
  }

  #track(member: Member): void {
    const { instance, service, slot } = member;
    const checks = checksOf(instance, service.policy.checks);
    const unheard = checks.some(({ type }) => type === 'ttl') && !this.#reportsItself(instance);
    this.#prober.track({
      key: slot,
      instance,
      checks: unheard ? checks.filter(({ type }) => type !== 'ttl') : checks,
      // Who registers has reported; and who is known from before a restart has not been silent yet.
      restored: true,
    });
  }

  #judge(slot: number, state: ProbeState, cause: string): void {
    const member = this.#fleet.memberBySlot(slot);
    if (!member) return;
    const before = member.health.probe;
    this.#fleet.setProbe(member, state, cause);
    // Probes had agreed with its breaker, and do so no more.
    if (before === 'failing' && (state === 'passing' || state === 'degraded'))
      member.breaker?.due('its probes pass again');
  }
}

/** Where the limit of descriptors is not known. */
const DEFAULT_KEPT = 10_000;

/**
 * A quarter of the descriptors for probes under way, and a quarter for connections kept between them: the other half
 * belongs to clients and their requests, which nobody may wait for because a black hole has to be probed.
 */
export function probeSockets(descriptors: number | undefined): Pick<ProberLimits, 'concurrency'> & { maxKept: number } {
  if (descriptors === undefined) return { concurrency: DEFAULT_LIMITS.concurrency, maxKept: DEFAULT_KEPT };
  const quarter = Math.max(1, Math.floor(descriptors / 4));
  return { concurrency: Math.min(DEFAULT_LIMITS.concurrency, quarter), maxKept: Math.min(MOST_KEPT, quarter) };
}

/** As many instances as a gateway has by default: more connections than that have nobody to belong to. */
const MOST_KEPT = 131_072;
