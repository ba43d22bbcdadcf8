import { appendFileSync } from 'node:fs';
import type { Reporter, SerializedError, TestCase, TestModule } from 'vitest/node';

/**
 * A reporter for vitest that writes one line for each test as it ends: `passed FILE: NAME`, `failed …`, `skipped …`,
 * `retried …` beside one of those, and `end` when all have ended. So a run that is broken off has said what it knew.
 *
 *     FAIRLEAD_TALLY=/tmp/tally npx vitest run --reporter=./scripts/tally.ts
 */
export default class Tally implements Reporter {
  onTestCaseResult(test: TestCase): void {
    const { state } = test.result();
    const name = `${test.module.relativeModuleId}: ${test.fullName}`;
    if ((test.diagnostic()?.retryCount ?? 0) > 0) write('retried', name);
    // One that was not reached because the run was broken off has not been skipped on purpose.
    write(state === 'pending' ? 'failed' : state, name);
  }

  /** A file that cannot be loaded, or whose hooks fail, may have no test that says so. */
  onTestModuleEnd(module: TestModule): void {
    if (module.state() !== 'failed') return;
    if ([...module.children.allTests('failed')].length > 0) return;
    write('failed', `${module.relativeModuleId} (loading it, or its hooks)`);
  }

  onTestRunEnd(_: readonly TestModule[], errors: readonly SerializedError[]): void {
    for (const { message } of errors) write('failed', `outside of every test: ${message}`);
    write('end', '');
  }
}

function write(what: string, name: string): void {
  const file = process.env['FAIRLEAD_TALLY'];
  if (file === undefined) throw new Error('FAIRLEAD_TALLY names the file to write to');
  appendFileSync(file, `${what} ${name.replaceAll(/\s+/g, ' ')}\n`);
}
