import { describe, expect, it } from 'vitest';
import { activatedSockets } from '../../src/gateway/activation.ts';
import { load } from '../config/load-text.ts';

const CONFIG = load("gateway: { listen: ['0.0.0.0:8080', '[::]:8081'] }");
const env = (fds: string, names: string, pid = '7'): Record<string, string> => ({
  LISTEN_PID: pid,
  LISTEN_FDS: fds,
  LISTEN_FDNAMES: names,
});

describe('sockets that systemd has opened', () => {
  it('are taken by name, and those of one name in the order of the configuration', () => {
    expect(activatedSockets(env('4', 'admin:fairlead.socket:registry:fairlead.socket'), 7, CONFIG)).toEqual([
      { setting: 'gateway.listen', host: '0.0.0.0', port: 8080, fd: 4, held: true },
      { setting: 'gateway.listen', host: '::', port: 8081, fd: 6, held: true },
      { setting: 'admin.listen', host: '127.0.0.1', port: 9901, fd: 3, held: true },
      { setting: 'registries.local.listen', host: '127.0.0.1', port: 8761, fd: 5, held: true },
    ]);
  });

  it('without names are those of clients', () => {
    const sockets = activatedSockets({ LISTEN_PID: '7', LISTEN_FDS: '2' }, 7, CONFIG);
    expect(sockets.map(({ setting, fd }) => [setting, fd])).toEqual([
      ['gateway.listen', 3],
      ['gateway.listen', 4],
    ]);
  });

  it.each([
    ['another process', env('1', 'gateway', '8')],
    ['nobody', {}],
    ['who knows', env('some', 'gateway')],
  ])('for %s are not ours', (_, given) => {
    expect(activatedSockets(given, 7, CONFIG)).toEqual([]);
  });

  it.each([
    [env('1', 'gateway'), 'systemd hands over 1 sockets for gateway.listen, which names 2'],
    [env('2', 'admin:admin'), 'systemd hands over 2 sockets for admin.listen, which names 1'],
  ])('must be as many as the setting names', (given, message) => {
    expect(() => activatedSockets(given, 7, CONFIG)).toThrow(message);
  });

  it('for a registry need an embedded one', () => {
    const config = load('registries: [{ type: static, services: {} }]');
    expect(() => activatedSockets(env('1', 'registry'), 7, config)).toThrow(
      /registries\.\(embedded\)\.listen, which names 0/,
    );
  });
});
