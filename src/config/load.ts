import { createReadStream } from 'node:fs';
import { validate, type Complaint } from './complaint.ts';
import type { Config } from './config.ts';
import { crossChecks, pathText } from './cross-checks.ts';
import { ConfigDocument } from './document.ts';
import { isGroup } from './merge-policy.ts';
import { evaluatePolicies } from './policies.ts';
import { configSchema } from './schema.ts';
import type { Environment } from './substitute.ts';
import type { Path, Position } from './yaml-source.ts';

/** One mistake. Lines and columns begin at 1 and are those of the file, whatever environment variables hold. */
export interface Issue {
  readonly file: string;
  readonly line: number;
  readonly column: number;
  /** `services.payment.health.interval`, `registries[0].name`; empty for the file as a whole. */
  readonly path: string;
  /** What is wrong and what is wanted. Never holds a value that may be a secret. */
  readonly message: string;
}

export type LoadResult =
  { readonly ok: true; readonly config: Config } | { readonly ok: false; readonly issues: readonly Issue[] };

export interface LoadOptions {
  /** What the issues call the file. */
  readonly file: string;
  readonly env: Environment;
}

export const MAX_CONFIG_BYTES = 1_048_576;

/**
 * Configuration out of YAML text, or everything that is wrong with it, in the order of the file. Never throws for what
 * the text holds.
 *
 * Where the text is no YAML, only that is said: what follows from half a text would hide the mistake.
 */
export function loadConfig(text: string, { file, env }: LoadOptions): LoadResult {
  if (Buffer.byteLength(text) > MAX_CONFIG_BYTES) return failed(file, `is larger than ${MAX_CONFIG_BYTES} bytes`);
  const document = ConfigDocument.parse(text, env);
  let attempt = evaluate(document);
  const asText = document.readAsText(
    attempt.complaints.filter((complaint) => complaint.wantsText).map((complaint) => complaint.path),
    env,
  );
  if (asText) attempt = evaluate(asText);
  if (attempt.config) return { ok: true, config: attempt.config };
  return { ok: false, issues: issuesOf(asText ?? document, attempt.complaints, file) };
}

/** As `loadConfig`; that the file cannot be read is an issue as well. */
export async function loadConfigFile(path: string, { file, env }: LoadOptions): Promise<LoadResult> {
  let text: string;
  try {
    const chunks: Buffer[] = [];
    // One byte more than allowed shows that there is more, without reading what may be endless.
    for await (const chunk of createReadStream(path, { end: MAX_CONFIG_BYTES })) chunks.push(chunk as Buffer);
    const bytes = Buffer.concat(chunks);
    if (bytes.length > MAX_CONFIG_BYTES) return failed(file, `is larger than ${MAX_CONFIG_BYTES} bytes`);
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (error) {
    return failed(file, `cannot be read: ${whyUnreadable(error)}`);
  }
  return loadConfig(text, { file, env });
}

/** For people who have just started the gateway in another directory, say. */
export function whyUnreadable(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === 'ENOENT') return 'there is no such file; -c FILE or FAIRLEAD_CONFIG names the one to use';
  if (code === 'EISDIR') return 'it is a directory, and a file is wanted';
  if (code === 'EACCES') return 'this user may not read it';
  if (code === 'ERR_ENCODING_INVALID_ENCODED_DATA') return 'it is not text in UTF-8';
  return message;
}

function failed(file: string, message: string): LoadResult {
  return { ok: false, issues: [{ file, line: 1, column: 1, path: '', message }] };
}

interface Attempt {
  readonly config: Config | undefined;
  readonly complaints: readonly Complaint[];
}

function evaluate(document: ConfigDocument): Attempt {
  if (document.broken) return { config: undefined, complaints: [] };
  const root = document.value;
  if (!isGroup(root)) {
    return {
      config: undefined,
      complaints: [complaint([], 'wants keys such as `gateway:` and `registries:` at the top')],
    };
  }
  const { defaults, services } = root;
  // What is no group of keys is left for the schema to complain about; the rest is merged before it is validated.
  const rest = {
    ...root,
    ...(isGroup(defaults) ? { defaults: {} } : {}),
    ...(isGroup(services) ? { services: {} } : {}),
  };
  const main = validate(configSchema, rest, []);
  const policies = evaluatePolicies(isGroup(defaults) ? defaults : {}, isGroup(services) ? services : {}, document);
  const complaints = [
    ...('complaints' in main ? main.complaints : []),
    ...policies.complaints,
    ...crossChecks(root, unreadPaths(document)).map(({ path, message, at }) => complaint(path, message, at)),
  ];
  if (
    !('value' in main) ||
    policies.defaultPolicy === undefined ||
    complaints.length > 0 ||
    document.problems.length > 0
  ) {
    return { config: undefined, complaints };
  }
  const { gateway, workers, admin, registries, shutdown, log, metrics } = main.value;
  const { defaultPolicy, services: byName } = policies;
  return {
    config: { gateway, workers, admin, registries, defaultPolicy, services: byName, shutdown, log, metrics },
    complaints,
  };
}

function complaint(path: Path, message: string, at: 'key' | 'value' = 'value'): Complaint {
  return { path, at, message, wantsText: false };
}

function unreadPaths(document: ConfigDocument): ReadonlySet<string> {
  return new Set(document.problems.map((problem) => pathText(problem.path)));
}

function issuesOf(document: ConfigDocument, complaints: readonly Complaint[], file: string): Issue[] {
  const said = unreadPaths(document);
  const issue = (position: Position, path: Path, message: string): Issue => ({
    file,
    ...position,
    path: pathText(path),
    message,
  });
  const issues = [
    ...document.problems.map(({ position, path, message }) => issue(position, path, message)),
    // A value that could not even be read has its message already.
    ...complaints
      .filter(({ path }) => path.length === 0 || !said.has(pathText(path)))
      .map(({ path, at, message }) => issue(document.locate(path, at), path, message)),
  ];
  return issues.sort((a, b) => a.line - b.line || a.column - b.column);
}
