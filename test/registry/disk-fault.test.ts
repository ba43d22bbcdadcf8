import { describe, expect, it } from 'vitest';
import { explainDiskError } from '../../src/registry/disk-fault.ts';

const where = { setting: 'dataDir', directory: '/var/lib/x', verb: 'written to' };
const failure = (code: string, path?: string): Error =>
  Object.assign(new Error(`${code}: said by the system, write`), { code, path });

describe('an error of a file system', () => {
  it.each([
    ['ENOSPC', /^dataDir \/var\/lib\/x cannot be written to: no space, .* \(ENOSPC\); make room/],
    ['EACCES', /\/var\/lib\/x .*this user may not \(EACCES\); give the directory/],
    ['EROFS', /\/var\/lib\/x .*read-only \(EROFS\); mount it for writing/],
    ['EIO', /\/var\/lib\/x .*its disk fails \(EIO\); /],
    ['EWHATEVER', /\/var\/lib\/x .*said by the system, write \(EWHATEVER\); /],
  ])('%s says where, what, and what to do', (code, text) => {
    const cause = failure(code);
    const explained = explainDiskError(cause, where);
    expect(String(explained)).toMatch(/^DiskFault: /);
    expect(explained).toMatchObject({ message: expect.stringMatching(text) as string, code, cause });
  });

  it('names the file, where it is known', () => {
    const told = explainDiskError(failure('EACCES', '/var/lib/x/lock'), where);
    expect(String(told)).toContain('(EACCES at /var/lib/x/lock)');
    expect(String(explainDiskError(failure('EACCES', '/var/lib/x'), where))).toContain('(EACCES)');
  });

  it('is told from errors of our own, which say what they mean', () => {
    const own = new Error('dataDir /var/lib/x is in use by another');
    expect(explainDiskError(own, where)).toBe(own);
    expect(explainDiskError('a word', where)).toBe('a word');
  });
});
