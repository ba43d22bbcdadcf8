import { describe, expect, it } from 'vitest';
import { compareAddresses } from '../../src/gateway/sockets.ts';

const at = (port: number, host = '127.0.0.1') => ({ host, port });
const open = (...ports: number[]) => ports.map((port) => ({ configured: at(port) }));

describe('a changed list of addresses', () => {
  it('keeps what stays, whatever its place, and tells what goes from what comes', () => {
    expect(compareAddresses(open(1, 2, 3), [at(3), at(4), at(1)])).toEqual({
      kept: open(3, 1),
      gone: open(2),
      added: [at(4)],
    });
  });

  it('counts an address that is there twice twice', () => {
    expect(compareAddresses(open(0), [at(0), at(0)])).toEqual({ kept: open(0), gone: [], added: [at(0)] });
    expect(compareAddresses(open(0, 0), [at(0)])).toEqual({ kept: open(0), gone: open(0), added: [] });
  });

  it('takes another host for another address', () => {
    const elsewhere = at(1, '0.0.0.0');
    expect(compareAddresses(open(1), [elsewhere])).toEqual({ kept: [], gone: open(1), added: [elsewhere] });
  });
});
