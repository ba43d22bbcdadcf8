import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isOwnShortage, SocketBudget } from '../../src/core/socket-budget.ts';

/** Takes until it is refused. */
function fill(take: () => boolean): number {
  let taken = 0;
  while (taken < 100_000 && take()) taken++;
  return taken;
}

function takeClient(budget: SocketBudget, atMost = Infinity): boolean {
  if (budget.shortForClient(atMost) !== undefined) return false;
  budget.addClient(1);
  return true;
}

describe('a budget of sockets', () => {
  it('leaves instances room when clients have all that they may have, and the rest of the process when both have', () => {
    const budget = new SocketBudget({ openFiles: 1024 });
    expect(fill(() => takeClient(budget))).toBe(640);
    expect(budget.shortForClient(Infinity)).toBe('descriptors');
    expect(fill(() => budget.takeInstance())).toBe(192);
    expect(1024 - budget.clients - budget.instances).toBe(192);
  });

  it('lets connections to instances have what clients leave, and clients no more than is left', () => {
    const budget = new SocketBudget({ openFiles: 1024 });
    expect(fill(() => budget.takeInstance())).toBe(832);
    expect(budget.shortForClient(Infinity)).toBe('descriptors');
    budget.addInstance(-1);
    expect(budget.shortForClient(Infinity)).toBeUndefined();
  });

  it('says that the configured limit is what is short, where it is', () => {
    const budget = new SocketBudget({ openFiles: 1024 });
    expect(fill(() => takeClient(budget, 10))).toBe(10);
    expect(budget.shortForClient(10)).toBe('limit');
  });

  it('counts what health checks have open', () => {
    const budget = new SocketBudget({ openFiles: 1024 });
    budget.checks = 830;
    expect(fill(() => budget.takeInstance())).toBe(2);
    budget.checks = 0;
    expect(budget.takeInstance()).toBe(true);
  });

  it.each([undefined, Infinity])('bounds nothing where the limit is %s', (openFiles) => {
    const budget = new SocketBudget({ openFiles });
    expect(budget.maxClients).toBe(Infinity);
    expect(fill(() => takeClient(budget) && budget.takeInstance())).toBe(100_000);
  });

  it('counts over all threads, each of which writes only its own row', () => {
    const cells = SocketBudget.cells(3);
    const [control, one, two] = [0, 1, 2].map((row) => new SocketBudget({ openFiles: 1024, cells, row }));
    expect(fill(() => takeClient(one!))).toBe(640);
    expect(takeClient(two!)).toBe(false);
    control!.checks = 100;
    expect(fill(() => two!.takeInstance())).toBe(92);
    expect([control!.clients, control!.instances]).toEqual([640, 92]);
    one!.refuseClient('descriptors');
    SocketBudget.clear(cells, 1);
    expect([control!.clients, control!.instances]).toEqual([0, 92]);
    expect(control!.refused).toEqual({ limit: 0, descriptors: 1, instances: 0 });
  });

  it('never lets out more than there are, whatever the limit', () => {
    fc.assert(
      fc.property(fc.integer({ min: 256, max: 20_000 }), fc.array(fc.boolean()), (openFiles, wishes) => {
        const budget = new SocketBudget({ openFiles });
        for (const client of wishes) {
          if (client) takeClient(budget);
          else budget.takeInstance();
        }
        fill(() => takeClient(budget));
        fill(() => budget.takeInstance());
        expect(budget.clients + budget.instances).toBeLessThanOrEqual(openFiles - 64);
        expect(budget.clients).toBeLessThanOrEqual(budget.maxClients);
        expect(budget.instances).toBeGreaterThan(0);
      }),
      { numRuns: 30 },
    );
  });
});

describe('a shortage of our own', () => {
  it('is told from what an instance does', () => {
    expect(['EMFILE', 'ENFILE', 'EADDRNOTAVAIL', 'ENOBUFS'].every(isOwnShortage)).toBe(true);
    expect(['ECONNREFUSED', 'ETIMEDOUT', 'EHOSTUNREACH', 'ECONNRESET', 'EOF'].some(isOwnShortage)).toBe(false);
  });
});
