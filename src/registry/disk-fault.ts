/** A file system refused. The message is for operators: where, what, and what mends it. */
export class DiskFault extends Error {
  override readonly name = 'DiskFault';
  /** Of the system, such as `ENOSPC`. */
  readonly code: string;

  constructor(message: string, code: string, cause: unknown) {
    super(message, { cause });
    this.code = code;
  }
}

/** What happened, and what to do about it. */
type Advice = readonly [what: string, todo: string];

const PERMISSION = 'give the directory and what is in it to the user that runs the gateway';

const ADVICE: ReadonlyMap<string, Advice> = new Map<string, Advice>([
  ['ENOSPC', ['no space, or no inode, is left on its disk', 'make room there']],
  ['EDQUOT', ['the quota of this user is used up there', 'make room, or raise it']],
  ['EFBIG', ['the file may not become larger', 'look at `ulimit -f`']],
  ['EACCES', ['this user may not', PERMISSION]],
  ['EPERM', ['this user may not', PERMISSION]],
  [
    'EROFS',
    [
      'its file system is read-only',
      'mount it for writing, in a container as a volume; a disk that fails is made read-only by the kernel, whose log then says so',
    ],
  ],
  ['EIO', ['its disk fails', 'look at the log of the kernel, and have another disk ready']],
  ['ENOTDIR', ['part of the path is a file, and a directory is wanted', 'name another one']],
  ['EEXIST', ['it is a file, and a directory is wanted', 'name another one']],
  ['ENOENT', ['it is not there any more', 'make it again, or look whether its disk is mounted']],
  ['ESTALE', ['the server of its network file system has forgotten it', 'mount it again']],
  ['EMFILE', ['this process has no descriptor left', 'raise LimitNOFILE= or `ulimit -n`']],
  ['ENFILE', ['the machine has no descriptor left', 'raise fs.file-max']],
]);

/**
 * The error of a file system as an operator reads it. Any other error is given back as it is.
 * `setting`: which one names the directory. `verb`: what it cannot be: `used`, `written to`.
 */
export function explainDiskError(
  error: unknown,
  { setting, directory, verb }: { readonly setting: string; readonly directory: string; readonly verb: string },
): unknown {
  if (!(error instanceof Error) || !('code' in error) || typeof error.code !== 'string') return error;
  const { code, message } = error;
  const path = 'path' in error && typeof error.path === 'string' && error.path !== directory ? ` at ${error.path}` : '';
  const [what, todo] = ADVICE.get(code) ?? [message, 'look at its disk'];
  return new DiskFault(`${setting} ${directory} cannot be ${verb}: ${what} (${code}${path}); ${todo}`, code, error);
}
