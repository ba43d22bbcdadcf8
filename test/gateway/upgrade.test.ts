import { describe, expect, it } from 'vitest';
import { ManualClock } from '../../src/core/clock.ts';
import type { Channel, Successor } from '../../src/gateway/channel.ts';
import { Predecessor } from '../../src/gateway/handover.ts';
import { Upgrade, type UpgradeOptions } from '../../src/gateway/upgrade.ts';
import { silentLogger } from '../../src/telemetry/log.ts';

/** Both ends of a line between two gateways, in one process. */
class Line {
  alive = true;
  hungUp = false;
  hangUps = 0;
  readonly successor: Successor;
  readonly predecessor: Channel;
  #toSuccessor: (message: unknown) => void = () => undefined;
  #toPredecessor: (message: unknown) => void = () => undefined;
  #closed: (() => void)[] = [];
  #exit: (how: string) => void = () => undefined;
  readonly #early: unknown[] = [];
  #listening = false;

  constructor() {
    const exited = new Promise<string>((resolve) => (this.#exit = resolve));
    this.successor = {
      pid: 4711,
      exited,
      send: (message) => {
        const copy: unknown = JSON.parse(JSON.stringify(message));
        if (this.#listening) this.#toSuccessor(copy);
        else this.#early.push(copy);
      },
      onMessage: (listener) => (this.#toPredecessor = listener),
      onClosed: () => undefined,
      close: () => (this.hungUp = true),
      kill: () => this.end('SIGKILL'),
      hangUp: () => this.hangUps++,
    };
    this.predecessor = {
      send: (message) => this.#toPredecessor(JSON.parse(JSON.stringify(message))),
      onMessage: (listener) => {
        this.#toSuccessor = listener;
        this.#listening = true;
        for (const message of this.#early.splice(0)) listener(message);
      },
      onClosed: (listener) => this.#closed.push(listener),
      close: () => undefined,
    };
  }

  end(how: string): void {
    this.alive = false;
    this.#exit(how);
  }

  predecessorDies(): void {
    for (const listener of this.#closed) listener();
  }
}

interface World {
  readonly clock: ManualClock;
  readonly line: Line;
  readonly calls: string[];
  readonly upgrade: Upgrade;
}

function world(part: Partial<UpgradeOptions> = {}): World {
  const clock = new ManualClock();
  const line = new Line();
  const calls: string[] = [];
  const upgrade = new Upgrade({
    clock,
    log: silentLogger,
    spawn: (fds) => {
      calls.push(`spawn ${fds.join()}`);
      return line.successor;
    },
    sockets: () => [
      { setting: 'gateway.listen', host: '0.0.0.0', port: 8080, fd: 20 },
      { setting: 'admin.listen', host: '127.0.0.1', port: 9901, fd: 23 },
    ],
    drained: () => [['web', 'i-7']],
    handOver: () => {
      calls.push('hand over');
      return Promise.resolve(() => {
        calls.push('take back');
        return Promise.resolve();
      });
    },
    onServing: () => void calls.push('hand the admin API on'),
    holdReloads: () => Promise.resolve(),
    allowReloads: (asked) => {
      calls.push(asked ? 'reload' : 'allow reloads');
      return Promise.resolve();
    },
    ...part,
  });
  return { clock, line, calls, upgrade };
}

const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('an upgrade', () => {
  it('hands over sockets and drains, then registries, and is done when the successor serves', async () => {
    const { clock, line, calls, upgrade } = world();
    const outcome = upgrade.run();
    const met = await Predecessor.meet(line.predecessor, clock);
    expect(met.sockets.map(({ setting, fd }) => [setting, fd])).toEqual([
      ['gateway.listen', 4],
      ['admin.listen', 5],
    ]);
    expect(met.drained).toEqual([['web', 'i-7']]);
    expect(calls).toEqual(['spawn 20,23']);
    await met.release();
    expect(calls).toEqual(['spawn 20,23', 'hand over']);
    expect(await met.serving()).toMatchObject({ drained: [], undrained: [] });
    expect(await outcome).toEqual({ ok: true, pid: 4711 });
    expect(calls.at(-1)).toBe('hand the admin API on');
    await upgrade.replaced;
    expect(line).toMatchObject({ alive: true, hungUp: true });
    expect(clock.pending).toBe(0);
  });

  it('that fails before the registries were asked for takes nothing back', async () => {
    const { line, calls, upgrade } = world();
    const outcome = upgrade.run();
    line.end('exit code 1');
    expect(await outcome).toMatchObject({ ok: false, reason: expect.stringContaining('exit code 1') as string });
    expect(calls).toEqual(['spawn 20,23', 'allow reloads']);
  });

  it('that fails after it takes the registries back, and tries until that works', async () => {
    const calls: string[] = [];
    let tries = 0;
    const { clock, line, upgrade } = world({
      allowReloads: () => Promise.resolve(),
      handOver: () =>
        Promise.resolve(() => {
          calls.push('take back');
          return ++tries < 3 ? Promise.reject(new Error('in use')) : Promise.resolve();
        }),
    });
    const outcome = upgrade.run();
    const met = await Predecessor.meet(line.predecessor, clock);
    await met.release();
    line.end('SIGSEGV');
    await settled();
    await clock.advanceAsync(2000, 500);
    expect(await outcome).toMatchObject({ ok: false });
    expect(calls).toHaveLength(3);
  });

  it('ends a successor that is not ready in time, and can be tried again', async () => {
    const { clock, line, upgrade } = world();
    const outcome = upgrade.run();
    expect(await upgrade.run()).toEqual({ ok: false, reason: 'an upgrade is under way already' });
    await clock.advanceAsync(120_000, 30_000);
    expect(await outcome).toMatchObject({ ok: false, reason: 'the new process is not ready after 120 s' });
    expect(line.alive).toBe(false);
    expect(await upgrade.run()).toMatchObject({ ok: false, reason: expect.stringContaining('SIGKILL') as string });
  });

  it('ends a successor that has the registries and does not serve after half of that time', async () => {
    const { clock, line, calls, upgrade } = world();
    const outcome = upgrade.run();
    const met = await Predecessor.meet(line.predecessor, clock);
    await clock.advanceAsync(30_000, 10_000);
    await met.release();
    await clock.advanceAsync(60_000, 20_000);
    expect(await outcome).toMatchObject({
      reason: 'the new process has been given the registries and does not serve after 60 s',
    });
    expect(calls).toContain('take back');
    expect(line.alive).toBe(false);
  });

  it('does not touch the one under way when it is refused', async () => {
    const { line, calls, upgrade } = world();
    const outcome = upgrade.run();
    expect(await upgrade.run()).toMatchObject({ ok: false });
    await settled();
    expect(calls).toEqual(['spawn 20,23']);
    line.end('exit code 1');
    await outcome;
    expect(calls).toEqual(['spawn 20,23', 'allow reloads']);
  });

  it('hands on what operators have drained and taken back since it began', async () => {
    let drained: [string, string][] = [
      ['web', 'i-7'],
      ['web', 'i-8'],
    ];
    const { clock, line, upgrade } = world({ drained: () => drained });
    const outcome = upgrade.run();
    const met = await Predecessor.meet(line.predecessor, clock);
    drained = [
      ['web', 'i-8'],
      ['pay', 'i-1'],
    ];
    expect(await met.serving()).toMatchObject({ drained: [['pay', 'i-1']], undrained: [['web', 'i-7']] });
    await outcome;
  });

  it('keeps a hang-up for whoever serves in the end', async () => {
    const failing = world();
    expect(failing.upgrade.hangUp()).toBe(false);
    const failed = failing.upgrade.run();
    expect(failing.upgrade.hangUp()).toBe(true);
    await settled();
    failing.line.end('exit code 1');
    await failed;
    expect(failing.calls.at(-1)).toBe('reload');
    expect(failing.upgrade.hangUp()).toBe(false);

    const { clock, line, upgrade } = world();
    const outcome = upgrade.run();
    const met = await Predecessor.meet(line.predecessor, clock);
    expect(upgrade.hangUp()).toBe(true);
    expect(line.hangUps).toBe(0);
    await met.serving();
    await outcome;
    expect(line.hangUps).toBe(1);
    // Whoever still knows this process as the gateway.
    expect(upgrade.hangUp()).toBe(true);
    expect(line.hangUps).toBe(2);
  });

  it('ends with the gateway that is told to stop', async () => {
    const { line, upgrade } = world();
    const outcome = upgrade.run();
    await settled();
    await upgrade.abort();
    expect(await outcome).toEqual({ ok: false, reason: 'the gateway is stopping' });
    expect(line.alive).toBe(false);
  });

  it('fails where the program cannot be started, or speaks another protocol', async () => {
    const broken = world({
      spawn: () => {
        throw new Error('EMFILE');
      },
    });
    expect(await broken.upgrade.run()).toEqual({ ok: false, reason: 'EMFILE' });
    const { line, upgrade } = world();
    const outcome = upgrade.run();
    await settled();
    line.predecessor.send({ type: 'hand me everything' });
    expect(await outcome).toMatchObject({ reason: 'the new process speaks another protocol: restart instead' });
    expect(line.alive).toBe(false);
  });
});

describe('a successor', () => {
  it('gives up on a predecessor that says nothing, or nothing that it understands', async () => {
    const clock = new ManualClock();
    const silent = Predecessor.meet(new Line().predecessor, clock);
    const refused = expect(silent).rejects.toThrow('has not answered for 20 s');
    await clock.advanceAsync(20_000);
    await refused;
    const line = new Line();
    line.successor.send({ type: 'hello', protocol: 2, sockets: [], drained: [] });
    await expect(Predecessor.meet(line.predecessor, clock)).rejects.toThrow('speaks another protocol');
    expect(clock.pending).toBe(0);
  });

  it('goes on alone where its predecessor dies in the middle of it', async () => {
    const { clock, line, upgrade } = world();
    void upgrade.run();
    const met = await Predecessor.meet(line.predecessor, clock);
    const released = met.release();
    line.predecessorDies();
    await released;
    expect(met.sockets).toHaveLength(2);
  });
});
