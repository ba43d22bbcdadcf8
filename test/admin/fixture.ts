import { createAdminApp } from '../../src/admin/app.ts';
import type { AdminDeps, NotReady, ReloadOutcome, UpgradeOutcome } from '../../src/admin/deps.ts';
import { ManualClock } from '../../src/core/clock.ts';
import { instance, type Instance } from '../../src/core/instance.ts';
import { seededRandom } from '../../src/core/random.ts';
import type { CheckEvidence, TargetEvidence } from '../../src/health/evidence.ts';
import { Metrics } from '../../src/telemetry/metrics.ts';
import { Timeline } from '../../src/telemetry/timeline.ts';
import { Figures } from '../../src/upstream/figures.ts';
import { Fleet } from '../../src/upstream/fleet.ts';
import type { Member } from '../../src/upstream/directory.ts';
import { POLICY } from '../policy.ts';

export interface Settings {
  token?: string;
  hostNames?: readonly string[];
  notReady?: () => readonly NotReady[];
  reload?: () => Promise<ReloadOutcome>;
  upgrade?: () => Promise<UpgradeOutcome>;
}

/** The admin API over a real fleet whose clock stands still. */
export class AdminFixture {
  readonly clock = new ManualClock();
  readonly figures = new Figures(4096);
  readonly timeline = new Timeline({ clock: this.clock });
  readonly fleet = new Fleet({
    clock: this.clock,
    random: seededRandom(1),
    figures: this.figures,
    defaultPolicy: POLICY,
  });
  readonly metrics = new Metrics({
    clock: this.clock,
    version: '1.2.3',
    nodeVersion: 'v24.0.0',
    instanceSeries: { enabled: true, limit: 100 },
    serviceRows: 64,
  });
  readonly evidence = new Map<Member, TargetEvidence>();
  readonly bugs: unknown[] = [];
  readonly deps: AdminDeps;
  readonly app: ReturnType<typeof createAdminApp>;

  constructor(settings: Settings = {}) {
    this.fleet.listen({
      transition: (member, kind, from, to, cause) => {
        const { service, id } = member.instance;
        this.timeline.add({ kind, service, instance: id, from, to, cause });
      },
    });
    this.deps = {
      clock: this.clock,
      build: { version: '1.2.3', node: 'v24.0.0' },
      token: settings.token,
      hostNames: settings.hostNames ?? [],
      metrics: {
        contentType: 'text/plain; version=0.0.4; charset=utf-8',
        scrape: () => Promise.resolve(['# one\n', '# two\n'].map((text) => Buffer.from(text))),
        totals: (service) => this.metrics.totals(service),
        vitals: () => this.metrics.vitals(),
      },
      timeline: this.timeline,
      fleet: this.fleet,
      figures: this.figures,
      notReady: settings.notReady ?? (() => []),
      resolveHost: (host) => (host.endsWith('.localhost') ? host.slice(0, -'.localhost'.length) : undefined),
      probesOf: (member) => this.evidence.get(member),
      originsOf: (service, id) => [
        {
          registry: 'local',
          registeredId: id,
          state: this.fleet.find(service, id)?.instance.state ?? 'up',
          held: false,
          sinceWallMs: this.clock.wall() - 7_200_000,
          decides: true,
        },
      ],
      registryTable: () => undefined,
      registries: () => [
        { name: 'local', type: 'embedded', state: 'synced', ageMs: 12, services: 1, instances: 3, held: [] },
      ],
      upgrade: settings.upgrade ?? (() => Promise.resolve({ ok: true, pid: 4711 })),
      reload: settings.reload ?? (() => Promise.resolve({ ok: true, changes: ['services.web: balancer'] })),
      onBug: (error) => this.bugs.push(error),
    };
    this.app = createAdminApp(this.deps);
  }

  /** Registers an instance that passes its probes. */
  add(id: string, part: Partial<Instance> = {}): Member {
    const member = this.fleet.upsert(
      instance({ id, service: 'web', host: '10.0.0.1', port: 8000 + this.fleet.members.length, ...part }),
    );
    if (!member) throw new Error('refused');
    this.fleet.setProbe(member, 'passing', 'first probe passed');
    this.fleet.flush();
    return member;
  }

  fail(member: Member, text: string): void {
    const check: CheckEvidence = {
      name: 'tcp',
      type: 'tcp',
      state: 'failing',
      last: { result: 'fail', text, atWallMs: this.clock.wall(), durationMs: 1.4 },
      consecutiveSuccesses: 0,
      consecutiveFailures: 3,
      healthyThreshold: 2,
      unhealthyThreshold: 3,
      nextInMs: 1000,
      activity: 'waiting',
      discarded: undefined,
    };
    this.evidence.set(member, { state: 'failing', checks: [check] });
    this.fleet.setProbe(member, 'failing', `tcp: ${text} (3 in a row)`);
    this.fleet.flush();
  }

  /** Lets the breaker of a member see failures until it opens. */
  break(member: Member): void {
    for (let attempt = 0; attempt < 5; attempt++) member.admit()?.settle('reset');
    this.fleet.flush();
  }

  async get(path: string, init: RequestInit = {}): Promise<Response> {
    const headers = new Headers(init.headers);
    if (!headers.has('host')) headers.set('host', '127.0.0.1:9901');
    return this.app.request(path, { ...init, headers });
  }

  async json(path: string, init: RequestInit = {}): Promise<Record<string, unknown>> {
    const response = await this.get(path, init);
    return { status: response.status, ...((await response.json()) as Record<string, unknown>) };
  }
}
