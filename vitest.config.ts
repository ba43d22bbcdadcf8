import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    testTimeout: 20_000,
    hookTimeout: 60_000,
    // Real servers and processes share two cores: more files at once only make their deadlines noisy.
    maxWorkers: 2,
    unstubEnvs: true,
  },
});
