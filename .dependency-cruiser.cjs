// The layers of docs/ARCHITECTURE.md. Imports go downward only; rooms of one layer do not import each other.
const layers = [
  ['core'],
  ['http1', 'telemetry'],
  ['config', 'registry', 'health', 'breaker', 'balance', 'routing'],
  ['upstream'],
  ['proxy'],
  ['worker', 'admin'],
  ['cli', 'gateway'],
  ['main'],
];
const place = (room) => `^src/${room}(/|\\.ts$)`;
const forbidden = [];
layers.forEach((rooms, depth) => {
  for (const room of rooms) {
    const above = layers
      .slice(depth)
      .flat()
      .filter((other) => other !== room);
    // The composition root is what `fairlead run` starts.
    const not = room === 'cli' ? above.filter((other) => other !== 'gateway') : above;
    if (not.length > 0) {
      forbidden.push({
        name: `${room}-imports-downward-only`,
        severity: 'error',
        from: { path: place(room) },
        to: { path: not.map(place) },
      });
    }
  }
});
module.exports = {
  forbidden: [
    ...forbidden,
    { name: 'no-circular', severity: 'error', from: {}, to: { circular: true, dependencyTypesNot: ['type-only'] } },
    {
      name: 'no-dev-dependency-in-src',
      severity: 'error',
      from: { path: '^src' },
      to: { dependencyTypes: ['npm-dev'] },
    },
    { name: 'no-unresolvable', severity: 'error', from: {}, to: { couldNotResolve: true } },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    tsConfig: { fileName: 'tsconfig.json' },
    tsPreCompilationDeps: true,
  },
};
