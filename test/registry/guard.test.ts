import { describe, expect, it } from 'vitest';
import { ManualClock, sleep } from '../../src/core/clock.ts';
import { type Instance, instance } from '../../src/core/instance.ts';
import { GUARD_DEFAULTS, type GuardOptions, RegistryGuard } from '../../src/registry/guard.ts';
import { RegistryMerge } from '../../src/registry/merge.ts';
import { SourceTable, type TableEvent } from '../../src/registry/table.ts';
import { RecordingSink } from './recording-sink.ts';

const nothing = (): void => undefined;

/** A table under guard, with a registry whose second answer the test writes. */
class Stage {
  readonly clock = new ManualClock();
  readonly sink = new RecordingSink();
  readonly notices: string[] = [];
  readonly reads: string[][] = [];
  readonly table: SourceTable;
  readonly guard: RegistryGuard;
  inContact = true;
  passing = true;
  /** What the second read finds; an Error to fail it. */
  truth: ReadonlyMap<string, readonly Instance[]> | Error = new Map();
  /** How long that answer takes. */
  readMs = 0;

  constructor(options: Partial<GuardOptions> = {}) {
    const output = new RegistryMerge(this.sink, this.clock).source('memory');
    this.table = new SourceTable(output, { instances: 100_000, services: 10_000 }, nothing, (slot) =>
      this.guard.returned(slot),
    );
    this.guard = new RegistryGuard(
      this.table,
      {
        confirm: (services) => this.#confirm(services),
        inContact: () => this.inContact,
        passes: () => this.passing,
        changed: () => this.#show(),
        onHold: (notice) => this.notices.push(`hold ${notice.instances} of ${notice.examples.join()}`),
        onRelease: (notice) => this.notices.push(`${notice.outcome} ${notice.instances} of ${notice.examples.join()}`),
        onConfirmFailed: (error) => this.notices.push(String(error)),
      },
      this.clock,
      { ...GUARD_DEFAULTS, ...options },
    );
  }

  apply(event: TableEvent): void {
    const departure = this.table.apply(event, this.clock.now());
    if (departure) this.guard.judge(departure);
    this.#show();
  }

  has(...ids: readonly number[]): void {
    this.apply({ kind: 'reset', service: 'web', instances: ids.map((id) => web(id)) });
  }

  removes(...ids: readonly number[]): void {
    for (const id of ids) this.apply({ kind: 'remove', service: 'web', id: `i${id}` });
  }

  pool(): string {
    return this.sink
      .ids()
      .map((key) => key.replace('web/i', ''))
      .join(' ');
  }

  async pass(ms: number): Promise<void> {
    await this.clock.advanceAsync(ms, 250);
  }

  #show(): void {
    this.table.show(() => false);
  }

  async #confirm(services: ReadonlySet<string>): Promise<ReadonlySet<string>> {
    this.reads.push([...services]);
    await sleep(this.clock, this.readMs);
    if (this.truth instanceof Error) throw this.truth;
    for (const service of services) {
      const instances = this.truth.get(service);
      this.apply(instances ? { kind: 'reset', service, instances } : { kind: 'absent', service });
    }
    return services;
  }
}

const web = (id: number): Instance => instance({ service: 'web', id: `i${id}`, host: `10.0.0.${id}`, port: 80 });
const range = (count: number): number[] => Array.from({ length: count }, (_, at) => at + 1);

describe('a service that is suddenly much smaller', () => {
  it.each([
    ['empty by a list', { kind: 'reset', service: 'web', instances: [] }],
    ['absent', { kind: 'absent', service: 'web' }],
    ['smaller by more than half', { kind: 'reset', service: 'web', instances: [web(1)] }],
  ] as const)('keeps its instances when it is %s, and asks again', async (_how, event) => {
    const stage = new Stage();
    stage.has(1, 2, 3, 4);
    stage.truth = new Map([['web', [web(1), web(2), web(3), web(4)]]]);
    stage.apply(event);
    expect(stage.pool()).toBe('1 2 3 4');
    await stage.pass(2000);
    expect(stage.reads).toEqual([['web']]);
    expect(stage.pool()).toBe('1 2 3 4');
    expect(stage.guard.holds()).toEqual([]);
    expect(stage.notices).toEqual([
      expect.stringMatching(/^hold [34] of web$/),
      expect.stringMatching(/^restored [34] of web$/),
    ]);
    expect(stage.table.held).toBe(0);
  });

  it('is believed at once where exactly half is left', () => {
    const stage = new Stage();
    stage.has(1, 2, 3, 4);
    stage.has(1, 2);
    expect(stage.pool()).toBe('1 2');
    expect(stage.notices).toEqual([]);
  });

  it('is believed at once where it shrinks by steps that are far apart', async () => {
    const stage = new Stage();
    stage.has(...range(8));
    stage.has(1, 2, 3, 4);
    await stage.pass(6000);
    stage.has(1, 2);
    expect(stage.pool()).toBe('1 2');
  });

  it('is held where small steps in a short time add up', async () => {
    const stage = new Stage();
    stage.has(...range(8));
    stage.has(1, 2, 3, 4, 5);
    await stage.pass(500);
    stage.has(1, 2, 3);
    expect(stage.pool()).toBe('1 2 3 4 5');
  });

  it('is believed at once with the guard off', () => {
    const stage = new Stage({ enabled: false });
    stage.has(1, 2, 3);
    stage.has();
    expect(stage.pool()).toBe('');
  });

  it('holds only what empties it where maxLoss is 1', () => {
    const stage = new Stage({ maxLoss: 1 });
    stage.has(1, 2, 3, 4);
    stage.has(1);
    expect(stage.pool()).toBe('1');
    stage.has();
    expect(stage.pool()).toBe('1');
  });
});

describe('what is held', () => {
  it('goes at once when the second read agrees and probes do not pass it', async () => {
    const stage = new Stage();
    stage.has(1, 2, 3);
    stage.passing = false;
    stage.has();
    await stage.pass(2000);
    expect(stage.pool()).toBe('');
    expect(stage.notices).toEqual(['hold 3 of web', 'confirmed 3 of web']);
  });

  it('stays while probes pass it, goes when they fail, and at the deadline in any case', async () => {
    const stage = new Stage();
    stage.has(1, 2, 3);
    stage.has();
    await stage.pass(10_000);
    expect(stage.pool()).toBe('1 2 3');
    expect(stage.guard.holds()).toEqual([{ service: 'web', instances: 3, forMs: 10_000, confirmed: true }]);
    await stage.pass(21_000);
    expect(stage.pool()).toBe('');
    expect(stage.notices.at(-1)).toBe('believed 3 of web');

    stage.has(4);
    stage.has();
    await stage.pass(3000);
    expect(stage.pool()).toBe('4');
    stage.passing = false;
    await stage.pass(1000);
    expect(stage.pool()).toBe('');
  });

  it('does not hold up what appears meanwhile, and takes back what is reported again', async () => {
    const stage = new Stage();
    stage.has(1, 2, 3);
    stage.has();
    stage.apply({ kind: 'upsert', instance: web(9) });
    expect(stage.pool()).toBe('1 2 3 9');
    stage.apply({ kind: 'upsert', instance: { ...web(2), weight: 5 } });
    expect(stage.sink.pool.get('web/i2')?.weight).toBe(5);
    expect(stage.table.held).toBe(2);
    stage.truth = new Map([['web', [web(2), web(9)]]]);
    stage.passing = false;
    await stage.pass(2000);
    expect(stage.pool()).toBe('2 9');
  });

  it('stays while the registry is lost, even past the deadline', async () => {
    const stage = new Stage();
    stage.has(1, 2);
    stage.has();
    stage.inContact = false;
    stage.guard.contactLost();
    await stage.pass(120_000);
    expect(stage.pool()).toBe('1 2');
    expect(stage.reads).toEqual([]);
    stage.inContact = true;
    await stage.pass(2000);
    expect(stage.pool()).toBe('');
  });

  it('needs another read after a loss of contact: what was confirmed may have registered again since', async () => {
    const stage = new Stage();
    stage.has(1, 2);
    stage.has();
    await stage.pass(3000);
    expect(stage.guard.holds()).toMatchObject([{ confirmed: true }]);
    stage.guard.contactLost();
    stage.passing = false;
    stage.truth = new Map([['web', [web(1)]]]);
    await stage.pass(3000);
    expect(stage.reads).toHaveLength(2);
    expect(stage.pool()).toBe('1');
  });

  it('is asked about again, ever more rarely, while the read fails; and the deadline holds', async () => {
    const stage = new Stage();
    stage.truth = new Error('no list today');
    stage.has(1, 2);
    stage.has();
    await stage.pass(29_000);
    expect(stage.pool()).toBe('1 2');
    expect(stage.reads.length).toBeGreaterThan(2);
    expect(stage.reads.length).toBeLessThan(8);
    expect(stage.notices).toContain('Error: no list today');
    await stage.pass(3000);
    expect(stage.pool()).toBe('');
  });

  it('is asked about once at a time, however slow the registry is', async () => {
    const stage = new Stage();
    stage.readMs = 20_000;
    stage.has(1, 2);
    stage.has();
    await stage.pass(19_000);
    expect(stage.reads).toHaveLength(1);
    await stage.pass(5000);
    expect(stage.guard.holds()).toMatchObject([{ confirmed: true }]);
  });

  it('is not confirmed by a read that was the first to miss it', async () => {
    const stage = new Stage();
    stage.has(1, 2, 3);
    stage.has(1);
    stage.truth = new Map();
    stage.passing = false;
    await stage.pass(1000);
    expect(stage.reads).toHaveLength(1);
    expect(stage.pool()).toBe('1 2 3');
    await stage.pass(2000);
    expect(stage.reads).toHaveLength(2);
    expect(stage.pool()).toBe('');
  });

  it('stays as it is when the gateway stops', async () => {
    const stage = new Stage();
    stage.has(1, 2);
    stage.has();
    stage.guard.stop();
    await stage.pass(120_000);
    expect(stage.pool()).toBe('1 2');
    expect(stage.clock.pending).toBe(0);
  });
});

describe('deregistrations one by one', () => {
  it('are believed at once, down to the last instance of a small service', () => {
    const stage = new Stage();
    stage.has(1, 2, 3, 4);
    stage.removes(1, 2, 3, 4);
    expect(stage.pool()).toBe('');
    expect(stage.notices).toEqual([]);
  });

  it('are a burst once they are many and make the service much smaller; a second read settles it', async () => {
    const stage = new Stage();
    for (let other = 0; other < 40; other += 1) {
      stage.apply({
        kind: 'upsert',
        instance: instance({ service: 'other', id: `o${other}`, host: `10.1.0.${other}`, port: 80 }),
      });
    }
    stage.has(...range(10));
    stage.removes(...range(8));
    expect(
      stage
        .pool()
        .split(' ')
        .filter((id) => !id.includes('other')),
    ).toEqual(['10', '6', '7', '8', '9']);
    stage.truth = new Map([['web', [web(9), web(10)]]]);
    // The registry meant it, instance by instance: probes have no say.
    stage.passing = true;
    await stage.pass(2000);
    expect(stage.sink.ids().filter((key) => key.startsWith('web'))).toEqual(['web/i10', 'web/i9']);
  });

  it('that sweep the whole registry are held like anything else, because leases expire like that', async () => {
    const stage = new Stage();
    for (let each = 1; each <= 40; each += 1) {
      stage.apply({
        kind: 'upsert',
        instance: instance({ service: `s${each}`, id: 'i', host: `10.1.0.${each}`, port: 80 }),
      });
    }
    for (let each = 1; each <= 40; each += 1) stage.apply({ kind: 'remove', service: `s${each}`, id: 'i' });
    expect(stage.sink.pool.size).toBe(20);
    await stage.pass(3000);
    expect(stage.sink.pool.size).toBe(20);
    expect(stage.notices[0]).toMatch(/^hold 20 of s21,s22/);
    stage.passing = false;
    await stage.pass(1000);
    expect(stage.sink.pool.size).toBe(0);
  });
});

describe('registrations that are taken back by a call each', () => {
  const takesBack = (stage: Stage, service: string, id: string): void => {
    stage.apply({ kind: 'remove', service, id, deliberate: true });
  };

  it('are believed at once, however many, down to the last one of a whole registry', async () => {
    const stage = new Stage();
    stage.has(...range(100));
    for (const id of range(100)) takesBack(stage, 'web', `i${id}`);
    expect(stage.pool()).toBe('');
    await stage.pass(20_000);
    expect(stage.notices).toEqual([]);
    expect(stage.clock.pending).toBe(0);
  });

  it('say nothing of what else disappears: of that as much is believed as without them', () => {
    const stage = new Stage();
    stage.has(...range(40));
    for (const id of range(30)) takesBack(stage, 'web', `i${id}`);
    // A quarter of the ten that are left, and not four fifths of forty.
    stage.removes(31, 32, 33, 34, 35);
    expect(stage.pool()).toBe('36 37 38 39 40');
    stage.removes(36, 37);
    expect(stage.pool()).toBe('36 37 38 39 40');
    expect(stage.table.held).toBe(2);
  });

  it('go while others of their service are held, which stay', () => {
    const stage = new Stage();
    stage.has(...range(10));
    stage.has(9, 10);
    takesBack(stage, 'web', 'i9');
    expect(stage.pool()).toBe('1 10 2 3 4 5 6 7 8');
    expect(stage.table.held).toBe(8);
  });
});

describe('an emptied registry', () => {
  it('is told in one notice, and asked about in one read', async () => {
    const stage = new Stage();
    const names = Array.from({ length: 1000 }, (_, at) => `s${at}`);
    const part = (service: string): Instance => instance({ service, id: 'i', host: service, port: 80 });
    for (const service of names) stage.apply({ kind: 'reset', service, instances: [part(service)] });
    for (const service of names) stage.apply({ kind: 'absent', service });
    expect(stage.sink.pool.size).toBe(1000);
    stage.truth = new Map(names.map((service) => [service, [part(service)]]));
    await stage.pass(2000);
    expect(stage.reads).toHaveLength(1);
    expect(stage.notices).toHaveLength(2);
    expect(stage.notices[1]).toMatch(/^restored 1000 of s0,/);
  });

  it('lets no more than its window of memory stay behind', async () => {
    const stage = new Stage();
    stage.has(1, 2, 3);
    stage.removes(1);
    await stage.pass(20_000);
    expect(stage.clock.pending).toBe(0);
  });
});
