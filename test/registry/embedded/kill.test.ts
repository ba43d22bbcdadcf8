import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { seededRandom } from '../../../src/core/random.ts';
import { onCleanup, openRegistry, temporaryDirectory } from './fixture.ts';

const CHILD = fileURLToPath(new URL('registering-child.ts', import.meta.url));

interface Witness {
  readonly acknowledged: Set<string>;
  /** Removals that were asked for: they may have happened. */
  readonly doubtful: Set<string>;
}

/** Lets a process register until it is killed, `afterMs` after its first answer. */
async function runAndKill(
  dataDir: string,
  life: string,
  afterMs: number,
  { acknowledged, doubtful }: Witness,
): Promise<void> {
  const child = spawn(process.execPath, [CHILD, dataDir, life], { stdio: ['ignore', 'pipe', 'inherit'] });
  onCleanup(() => void child.kill('SIGKILL'));
  let text = '';
  let kill: NodeJS.Timeout | undefined;
  child.stdout.on('data', (chunk: Buffer) => {
    text += chunk.toString();
    kill ??= setTimeout(() => child.kill('SIGKILL'), afterMs);
  });
  const [code, signal] = await new Promise<[number | null, NodeJS.Signals | null]>((resolve) => {
    child.once('close', (...how) => {
      resolve(how);
    });
  });
  expect({ code, signal }).toEqual({ code: null, signal: 'SIGKILL' });
  // A line that was cut off was not read by anybody.
  for (const line of text.slice(0, text.lastIndexOf('\n')).split('\n')) {
    const id = line.slice(2);
    if (line.startsWith('+')) acknowledged.add(id);
    else if (line.startsWith('?')) doubtful.add(id);
    else acknowledged.delete(id);
  }
}

describe('kill -9', () => {
  it('at any moment loses nothing that was acknowledged, life after life', async () => {
    const dataDir = temporaryDirectory();
    const random = seededRandom(20_261_122);
    const witness: Witness = { acknowledged: new Set(), doubtful: new Set() };
    for (let life = 0; life < 6; life++) {
      await runAndKill(dataDir, `life${life}`, 50 + random() * 250, witness);
      const { registry, lines } = await openRegistry({ dataDir });
      const found = new Set(registry.services.get('web')?.entries.keys());
      const lost = [...witness.acknowledged].filter((id) => !found.has(id) && !witness.doubtful.has(id));
      expect(lost).toEqual([]);
      const returned = [...witness.doubtful].filter((id) => !witness.acknowledged.has(id) && found.has(id));
      expect(returned).toEqual([]);
      // At most the end of the log may be torn; what is whole is sound.
      expect(registry.figures.corruptRecords).toBe(0);
      expect(lines.filter((line) => line.level === 'error')).toEqual([]);
      await registry.close();
    }
    expect(witness.acknowledged.size).toBeGreaterThan(50);
  }, 60_000);
});
