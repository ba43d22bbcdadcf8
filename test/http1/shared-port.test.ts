import { describe, expect, it } from 'vitest';
import { whyNoSharedPort, type BindShared } from '../../src/http1/shared-port.ts';

/** Answers one after the other: a port, or the code of an error. */
function binding(...answers: readonly (number | string)[]): { bind: BindShared; open: () => number; ports: number[] } {
  const left = [...answers];
  const ports: number[] = [];
  let open = 0;
  const bind: BindShared = (_, port) => {
    ports.push(port);
    const answer = left.shift();
    if (typeof answer !== 'number')
      return Promise.reject(Object.assign(new Error(`listen ${answer}`), { code: answer }));
    open++;
    const close = (): Promise<void> => {
      open--;
      return Promise.resolve();
    };
    return Promise.resolve({ port: answer, close });
  };
  return { bind, open: () => open, ports };
}

describe('whether sockets may share a port', () => {
  it('is tried with two of them on a port that nobody uses', async () => {
    const { bind, open, ports } = binding(4711, 4711);
    expect(await whyNoSharedPort('127.0.0.1', bind)).toBeUndefined();
    expect(ports).toEqual([0, 4711]);
    expect(open()).toBe(0);
  });

  it.each(['ENOTSUP', 'EINVAL', 'ENOPROTOOPT', 'EOPNOTSUPP'])('no: the option is refused with %s', async (code) => {
    const { bind, open } = binding(code);
    expect(await whyNoSharedPort('127.0.0.1', bind)).toBe(code);
    expect(open()).toBe(0);
  });

  it('no: the option is taken, and the second socket does not get in', async () => {
    const { bind, open } = binding(4711, 'EADDRINUSE');
    expect(await whyNoSharedPort('127.0.0.1', bind)).toBe('EADDRINUSE');
    expect(open()).toBe(0);
  });

  it.each([['EADDRNOTAVAIL'], [4711, 'EMFILE']])(
    'is not judged by troubles of another kind: %s',
    async (...answers) => {
      const { bind, open } = binding(...answers);
      expect(await whyNoSharedPort('127.0.0.1', bind)).toBeUndefined();
      expect(open()).toBe(0);
    },
  );

  it.runIf(process.platform === 'linux')('yes on Linux, for every kind of address', async () => {
    expect(await whyNoSharedPort('127.0.0.1')).toBeUndefined();
    expect(await whyNoSharedPort('0.0.0.0')).toBeUndefined();
    expect(await whyNoSharedPort('localhost')).toBeUndefined();
    expect(await whyNoSharedPort('::1')).toBeUndefined();
  });
});
