import tseslint from 'typescript-eslint';

const only = (name, file, why) => ({ name, message: `${name} is imported by ${file} alone: ${why}` });
const banned = [
  only('opossum', 'src/breaker/opossum.ts', 'the rest sees the contract in breaker.ts'),
  only('prom-client', 'src/telemetry/metrics.ts', 'every series is declared once'),
  only('pino', 'src/telemetry/log.ts', 'one log format'),
];

export default tseslint.config(
  { ignores: ['dist/', 'node_modules/', 'data/', 'bench/results/'] },
  {
    files: ['**/*.ts'],
    extends: [...tseslint.configs.strictTypeChecked],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      '@typescript-eslint/switch-exhaustiveness-check': 'error',
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true, allowBoolean: true }],
      '@typescript-eslint/consistent-type-imports': 'error',
      '@typescript-eslint/no-confusing-void-expression': ['error', { ignoreArrowShorthand: true }],
      '@typescript-eslint/no-unnecessary-condition': ['error', { allowConstantLoopConditions: true }],
      'no-empty': 'error',
      eqeqeq: 'error',
    },
  },
  {
    files: ['src/**/*.ts'],
    rules: {
      'no-restricted-imports': ['error', { paths: banned }],
      'no-restricted-properties': [
        'error',
        {
          object: 'Math',
          property: 'random',
          message: 'Take a Random from core/random.ts, so that a seed replays a failure.',
        },
        { object: 'Date', property: 'now', message: 'Take a Clock from core/clock.ts: intervals are monotonic.' },
      ],
    },
  },
  { files: ['src/core/clock.ts', 'src/core/random.ts'], rules: { 'no-restricted-properties': 'off' } },
  {
    files: ['src/breaker/opossum.ts', 'src/telemetry/metrics.ts', 'src/telemetry/log.ts'],
    rules: { 'no-restricted-imports': 'off' },
  },
  {
    // Only main.ts touches the process: argv, environment, signals, exit codes.
    files: ['src/**/*.ts'],
    ignores: ['src/main.ts'],
    rules: { 'no-restricted-globals': ['error', { name: 'process', message: 'Pass in what is needed from main.ts.' }] },
  },
  {
    files: ['test/**/*.ts', 'bench/**/*.ts', 'demo/**/*.ts'],
    rules: { '@typescript-eslint/no-non-null-assertion': 'off' },
  },
);
