import type { Disk } from './disk.ts';
import { FrameReader } from './frame.ts';
import { LOG_FORMAT, type LogRecord, decodeRecord } from './record.ts';
import type { RegistryLog } from './report.ts';

export interface ReplayReport {
  readonly records: number;
  /** The log may be appended to from here; what follows is no record. */
  readonly goodLength: number;
  /** Bytes after the last record: a write that was cut off, or a last record that is damaged. */
  readonly tornBytes: number;
  /** Stretches within the log that hold no record that can be trusted, and records that make no sense. */
  readonly corruptRecords: number;
  /** Bytes that deserve a second look before the log is changed: everything unreadable but an ordinary torn write. */
  readonly damagedBytes: number;
}

/** A cut-off write of a single batch is usually shorter than this. */
const ORDINARY_TEAR_BYTES = 65_536;

/**
 * Reads a log record by record. Whatever cannot be trusted is left out, reported and counted; the rest is kept. A file
 * that does not exist is an empty log. Rejects on a format of a later version, and with what the disk says.
 */
export async function replay(
  disk: Disk,
  path: string,
  onRecord: (record: LogRecord) => void,
  log: RegistryLog,
): Promise<ReplayReport> {
  let records = 0;
  let corruptRecords = 0;
  let tornBytes = 0;
  let damagedBytes = 0;
  const reader = new FrameReader(
    (json, offset) => {
      const record = decodeRecord(json);
      if (typeof record === 'string') {
        corruptRecords++;
        damagedBytes += json.length;
        log('error', 'skipped a record of the log that makes no sense', { path, offset, why: record });
        return;
      }
      if (record.kind === 'format') {
        refuseLaterFormat(record.format, path);
        return;
      }
      records++;
      onRecord(record);
    },
    ({ offset, bytes, atEnd }) => {
      if (atEnd) {
        tornBytes = bytes;
        if (bytes > ORDINARY_TEAR_BYTES) damagedBytes += bytes;
        log('warn', 'dropped an incomplete last record of the log', { path, offset, bytes });
        return;
      }
      corruptRecords++;
      damagedBytes += bytes;
      log('error', 'skipped a corrupt part of the log; registrations in it are lost, all others are kept', {
        path,
        offset,
        bytes,
      });
    },
  );
  for await (const chunk of disk.read(path)) reader.push(chunk);
  const goodLength = reader.end();
  return { records, goodLength, tornBytes, corruptRecords, damagedBytes };
}

function refuseLaterFormat(format: number, path: string): void {
  if (format <= LOG_FORMAT) return;
  throw new Error(
    `${path} was written by a later version of Fairlead (format ${format}, this one knows ${LOG_FORMAT}): run that version, or choose another dataDir`,
  );
}
