import type { JournalFigures, RegistrationLog } from './journal.ts';

/** No log at all (`dataDir: off`): what is registered lasts as long as the process. */
export const memoryLog: RegistrationLog = {
  figures: { bytes: 0, appends: 0, appendFailures: 0, compactions: 0, compactionFailures: 0 } satisfies JournalFigures,
  append: () => Promise.resolve(),
  compactIfDue: () => undefined,
  close: () => Promise.resolve(),
};
