import { sleep } from '../../core/clock.ts';
import { explainDiskError } from '../disk-fault.ts';
import { DataLock } from './data-lock.ts';
import { systemDisk } from './disk.ts';
import { Journal, OWNER_CHECK_MS, type RegistrationLog } from './journal.ts';
import { memoryLog } from './memory-log.ts';
import type { EmbeddedRegistryOptions } from './options.ts';
import type { LogRecord } from './record.ts';
import type { RegistryState } from './state.ts';

/** What keeps the registrations of one registry. */
export interface Storage {
  readonly log: RegistrationLog;
  /** No index above it may be handed out before a higher one is on disk. */
  readonly reservation: { index: number };
  readonly corruptRecords: number;
  readonly tornBytes: number;
  /** Closes the log and gives the directory back. */
  close(): Promise<void>;
}

/** Indexes set aside on disk at a time: lease changes count without being written. */
export const INDEX_BLOCK = 1_000_000;

const LEAST_COMPACTED_BYTES = 4_194_304;

/** Takes the directory and reads what it holds into the state. */
export async function openStorage(options: EmbeddedRegistryOptions, state: RegistryState): Promise<Storage> {
  const { dataDir: directory } = options;
  if (directory === undefined) {
    const reservation = { index: 0 };
    return { log: memoryLog, reservation, corruptRecords: 0, tornBytes: 0, close: () => memoryLog.close() };
  }
  try {
    return await openDirectory(directory, options, state);
  } catch (error) {
    throw explainDiskError(error, { setting: 'dataDir', directory, verb: 'used' });
  }
}

async function openDirectory(
  directory: string,
  options: EmbeddedRegistryOptions,
  state: RegistryState,
): Promise<Storage> {
  const { clock, log, disk = systemDisk } = options;
  const reservation = { index: 0 };
  await disk.createDirectory(directory);
  const lock = await DataLock.acquire(directory, options.owner, log);
  try {
    // A former holder that lives finds out meanwhile; what it wrote until then is read below.
    if (lock.mayBeContested) await sleep(clock, 2 * OWNER_CHECK_MS);
    const { journal, report } = await Journal.open(
      {
        directory,
        disk,
        clock,
        log,
        snapshot: () => snapshot(state, reservation.index),
        verifyOwner: () => lock.verify(),
        compactAboveBytes: options.compactAboveBytes ?? LEAST_COMPACTED_BYTES,
      },
      (record) => {
        if (record.kind === 'reserve') reservation.index = Math.max(reservation.index, record.index);
        else state.restore(record);
      },
    );
    const { corruptRecords, tornBytes } = report;
    // A reservation may be among what could not be read.
    if (corruptRecords > 0) reservation.index += INDEX_BLOCK;
    const close = async (): Promise<void> => {
      await journal.close();
      await lock.release();
    };
    return { log: journal, reservation, corruptRecords, tornBytes, close };
  } catch (error) {
    await lock.release();
    throw error;
  }
}

function snapshot(state: RegistryState, reservedIndex: number): LogRecord[] {
  const records: LogRecord[] = [{ kind: 'reserve', index: reservedIndex }];
  for (const { registration } of state.table.entries()) records.push({ kind: 'put', registration, drop: [] });
  return records;
}
