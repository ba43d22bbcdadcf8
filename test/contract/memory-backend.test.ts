import { MemoryBackend, MemoryRegistry } from './memory-backend.ts';
import { registryBackendContract, type RegistryHarness } from './registry-backend.ts';

function memoryHarness(): RegistryHarness {
  const registry = new MemoryRegistry();
  const write = (change: () => void): Promise<void> => {
    change();
    return Promise.resolve();
  };
  return {
    backend: ({ onSkip }) => new MemoryBackend(registry, { onSkip, silenceMs: 300 }),
    register: (wanted) => write(() => registry.register(wanted)),
    deregister: (gone) => write(() => registry.deregister(gone.service, gone.id)),
    registerHostile: (service) => write(() => registry.hostile.add(service)),
    lose: () => write(() => registry.lose()),
    restore: () => write(() => registry.restore()),
    freeze: () => write(() => registry.freeze()),
    restartEmpty: () => write(() => registry.restartEmpty()),
    refusedBackend: () => {
      const strict = new MemoryRegistry();
      strict.state = 'refusing';
      return new MemoryBackend(strict);
    },
    close: () => Promise.resolve(),
  };
}

registryBackendContract('memory', () => Promise.resolve(memoryHarness()), {
  carries: ['id', 'weight', 'zone', 'version', 'secure', 'state', 'metadata'],
  lacks: {},
  lossNames: { address: /memory:1/, setting: /registries\[\]\.address/ },
  refusalNames: /registries\[\]\.token/,
});
