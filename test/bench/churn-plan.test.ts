import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ChurnPlan, encodeCall, type ChurnKind, type RegistryCall } from '../../bench/load/churn-plan.ts';

/** A registry that answers as the real one does. */
class Registered {
  readonly ids = new Map<string, string>();
  #addresses = new Set<string>();

  call({ method, path, body, expected }: RegistryCall): void {
    if (method === 'POST') {
      const { id, serviceName, host, port } = JSON.parse(body) as Record<string, string>;
      const known = this.ids.has(id ?? '');
      const address = `${host ?? ''}:${port ?? ''}`;
      if (!known && this.#addresses.has(address)) throw new Error(`two instances at ${address}`);
      this.#addresses.add(address);
      this.ids.set(id ?? '', serviceName ?? '');
      expect(expected).toBe(201);
      return;
    }
    expect(this.ids.delete(path.slice('/deregister/'.length)) ? 200 : 404).toBe(expected);
  }
}

const planOf = (kind: ChurnKind, services: number, instances: number): ChurnPlan =>
  new ChurnPlan({ kind, service: 'web', services, instances, instancePort: 80 });

describe('the plan of registry calls', () => {
  it('keeps as many instances as asked for, expects what a registry answers, and leaves nothing behind', () => {
    fc.assert(
      fc.property(
        fc.constantFrom<ChurnKind>('none', 'again', 'real'),
        fc.integer({ min: 1, max: 20 }),
        fc.integer({ min: 1, max: 40 }),
        fc.nat(200),
        (kind, services, instances, asked) => {
          const plan = planOf(kind, services, instances);
          const steps = kind === 'none' ? 0 : asked;
          const registry = new Registered();
          for (const call of plan.first()) registry.call(call);
          expect(registry.ids.size).toBe(instances);
          for (let step = 0; step < steps; step += 1) {
            registry.call(plan.step(step));
            expect(registry.ids.size).toBe(instances + (kind === 'real' && step % 2 === 0 ? 1 : 0));
          }
          for (const call of plan.last(steps)) registry.call(call);
          expect(registry.ids.size).toBe(0);
        },
      ),
    );
  });

  it('changes nothing where it only calls again', () => {
    const plan = planOf('again', 3, 6);
    const registry = new Registered();
    for (const call of plan.first()) registry.call(call);
    const before = [...registry.ids];
    for (let step = 0; step < 50; step += 1) registry.call(plan.step(step));
    expect([...registry.ids]).toEqual(before);
  });

  it('deals instances out to services in turn, and to one service by its own name', () => {
    const many = new Registered();
    for (const call of planOf('real', 3, 9).first()) many.call(call);
    expect([...many.ids.values()].sort()).toEqual(['0', '0', '0', '1', '1', '1', '2', '2', '2'].map((n) => `web-${n}`));
    const one = new Registered();
    for (const call of planOf('real', 1, 4).first()) one.call(call);
    expect(new Set(one.ids.values())).toEqual(new Set(['web']));
  });

  it('is written as HTTP/1.1 with a body only where there is one', () => {
    const plan = planOf('real', 1, 1);
    expect(encodeCall(plan.step(1)).toString()).toBe('DELETE /deregister/c-0 HTTP/1.1\r\nHost: localhost\r\n\r\n');
    const [head = '', body = ''] = encodeCall(plan.step(0)).toString().split('\r\n\r\n');
    expect(head).toContain(`Content-Length: ${body.length}`);
    expect(JSON.parse(body)).toEqual({ serviceName: 'web', host: '127.1.0.1', port: 80, id: 'c-1' });
  });
});
