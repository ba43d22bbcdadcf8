import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    testTimeout: 20_000,
    hookTimeout: 60_000,
    // Real servers and processes share two cores: more files at once only make their deadlines noisy.
    maxWorkers: 2,
    // Real servers, kills and deadlines on a machine that others use too: a test that fails once and then passes is
    // printed as retried, and is a bug to mend, but it does not hide what everything else says. Locally it fails.
    retry: process.env['CI'] === 'true' ? 1 : 0,
    unstubEnvs: true,
  },
});
