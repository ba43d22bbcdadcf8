import { execFileSync } from 'node:child_process';
import { mkdir, mkdtemp, rename, rm, symlink, unlink, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ManualClock, systemClock } from '../../src/core/clock.ts';
import { type Instance, instance } from '../../src/core/instance.ts';
import type { Interest, RegistryBackend } from '../../src/registry/backend.ts';
import { NotADocument, parseInstanceFile, type Services } from '../../src/registry/file/document.ts';
import { FileBackend, type FileBackendOptions } from '../../src/registry/file/file-backend.ts';
import { FileChanged, type FileTree, type FoundFile, type Look } from '../../src/registry/file/file-tree.ts';
import { Observation } from '../contract/observation.ts';
import { registryBackendContract, type RegistryHarness, type RegistryWrite } from '../contract/registry-backend.ts';

const ALL: Interest = { kind: 'all' };

/** Every service in a file of its own, replaced by renaming: what configuration management does. */
async function directoryHarness(): Promise<RegistryHarness> {
  const home = await mkdtemp(join(tmpdir(), 'fairlead-file-'));
  const path = join(home, 'instances.d');
  await mkdir(path);
  const services = new Map<string, Map<string, Instance>>();
  const raw = new Map<string, unknown[]>();
  const record = ({ id, host, port, weight, zone, version, secure, state, metadata }: Instance): unknown => ({
    ...{ id, host, port, weight, zone, version, secure, state },
    metadata: Object.fromEntries(metadata),
  });
  const write = async (service: string): Promise<void> => {
    const instances = [...(services.get(service)?.values() ?? [])].map(record);
    const file = join(path, `${service}.json`);
    if (instances.length === 0 && !raw.has(service)) {
      await rm(file, { force: true });
      return;
    }
    await writeFile(
      `${file}.new`,
      JSON.stringify({ services: { [service]: [...(raw.get(service) ?? []), ...instances] } }),
    );
    await rename(`${file}.new`, file);
  };
  const change = ({ kind, instance: each }: RegistryWrite): void => {
    const table = services.get(each.service) ?? new Map<string, Instance>();
    services.set(each.service, table);
    if (kind === 'register') table.set(each.id, each);
    else table.delete(each.id);
  };
  const apply = async (write_: RegistryWrite): Promise<void> => {
    change(write_);
    await write(write_.instance.service);
  };
  return {
    backend: ({ onSkip }) => new FileBackend({ path, clock: systemClock, onSkip, pollMs: 200, settleMs: 20 }),
    register: (wanted) => apply({ kind: 'register', instance: wanted }),
    deregister: (gone) => apply({ kind: 'deregister', instance: gone }),
    async applyAll(changes) {
      for (const each of changes) await apply(each);
    },
    async registerHostile(service) {
      raw.set(service, [{ host: '10.0.0.1', port: 0 }, { host: '127.1', port: 80 }, null]);
      await write(service);
      raw.delete(service);
    },
    lose: () => rename(path, `${path}.away`),
    restore: () => rename(`${path}.away`, path),
    async restartEmpty() {
      services.clear();
      await rm(path, { recursive: true });
      await mkdir(path);
    },
    close: () => rm(home, { recursive: true, force: true }),
  };
}

registryBackendContract('file', directoryHarness, {
  carries: ['id', 'weight', 'zone', 'version', 'secure', 'state', 'metadata'],
  lacks: {
    'half-open': 'a file has no connection; a file system that hangs is tested below',
    refusal: 'the file system knows no refusal: what may not be read cannot be read',
  },
  lossNames: { address: /instances\.d/, setting: /registries\[\]\.path/ },
});

let home: string;
beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), 'fairlead-file-'));
});
afterEach(async () => {
  await Promise.all(open.splice(0).map((watch) => watch.stop()));
  await rm(home, { recursive: true, force: true });
});

const open: Observation[] = [];
const skips: string[] = [];

function backendOf(path: string, part: Partial<FileBackendOptions> = {}): FileBackend {
  skips.length = 0;
  return new FileBackend({
    path,
    clock: systemClock,
    onSkip: ({ service, id, why }) => skips.push(`${service}/${id}: ${why}`),
    pollMs: 100,
    settleMs: 10,
    ...part,
  });
}

function observe(backend: RegistryBackend): Observation {
  const watch = new Observation(backend, ALL);
  open.push(watch);
  return watch;
}

const yaml = (service: string, ...addresses: readonly string[]): string =>
  `services:\n  ${service}:\n${addresses.map((address) => `    - ${address}\n`).join('')}`;
const addresses = (watch: Observation, service = 'web'): string =>
  watch
    .of(service)
    .map((each) => `${each.host}:${each.port}`)
    .join(' ');

async function shows(watch: Observation, wanted: string, service = 'web'): Promise<void> {
  await watch.until(`${service} = ${wanted}`, () => addresses(watch, service) === wanted, 5000);
}

describe('instance files', () => {
  it('may be one file', async () => {
    const path = join(home, 'instances.yaml');
    await writeFile(path, yaml('web', 'a:1'));
    const watch = await observe(backendOf(path)).synced(2000);
    expect(addresses(watch)).toBe('a:1');
    await writeFile(join(home, 'next'), yaml('web', 'a:1', 'b:1'));
    await rename(join(home, 'next'), path);
    await shows(watch, 'a:1 b:1');
    await unlink(path);
    await watch.until('the loss', () => watch.end !== undefined, 5000);
    expect(String(watch.end?.error)).toMatch(/instances\.yaml: ENOENT.*registries\[\]\.path/);
    expect(addresses(watch)).toBe('a:1 b:1');
  });

  it('add up over a directory, the first file deciding where two have one id; other files are left alone', async () => {
    await writeFile(
      join(home, '10-web.yaml'),
      'services: { web: [{ id: x, host: a, port: 1 }, { id: y, host: b, port: 1 }] }',
    );
    await writeFile(
      join(home, '20-web.json'),
      '{"services":{"web":[{"id":"x","host":"c","port":1},"d:1"],"pay":["e:1"],"none":[]}}',
    );
    await writeFile(join(home, '.hidden.yaml'), yaml('web', 'no:1'));
    await writeFile(join(home, 'notes.txt'), 'not for us');
    await mkdir(join(home, 'sub.yaml'));
    execFileSync('mkfifo', [join(home, 'pipe.yaml')]);
    const watch = await observe(backendOf(home)).synced(2000);
    expect(addresses(watch)).toBe('a:1 b:1 d:1');
    expect(addresses(watch, 'pay')).toBe('e:1');
    expect(watch.table.get('none')?.size).toBe(0);
    expect(skips).toEqual(['web/x: 20-web.json: another file has this id already']);
    await rm(join(home, '10-web.yaml'));
    await shows(watch, 'c:1 d:1');
  });

  it('survive the swap of a symlink below the directory, as Kubernetes does with a ConfigMap', async () => {
    for (const [version, address] of [
      ['..v1', 'a:1'],
      ['..v2', 'b:1'],
    ] as const) {
      await mkdir(join(home, version));
      await writeFile(join(home, version, 'web.yaml'), yaml('web', address));
    }
    await symlink('..v1', join(home, '..data'));
    await symlink('..data/web.yaml', join(home, 'web.yaml'));
    const watch = await observe(backendOf(home, { pollMs: 60_000 })).synced(2000);
    expect(addresses(watch)).toBe('a:1');
    await symlink('..v2', join(home, '..tmp'));
    await rename(join(home, '..tmp'), join(home, '..data'));
    await rm(join(home, '..v1'), { recursive: true });
    await shows(watch, 'b:1');
    expect(watch.end).toBeUndefined();
  });

  it('are followed where the directory itself is a symlink that is swapped, without a notice of the kernel', async () => {
    for (const [version, address] of [
      ['v1', 'a:1'],
      ['v2', 'b:1'],
    ] as const) {
      await mkdir(join(home, version));
      await writeFile(join(home, version, 'web.yaml'), yaml('web', address));
    }
    const path = join(home, 'current');
    await symlink('v1', path);
    const watch = await observe(backendOf(path)).synced(2000);
    await symlink('v2', join(home, 'next'));
    await rename(join(home, 'next'), path);
    await shows(watch, 'b:1');
    // The notices come from the new directory now.
    await writeFile(join(home, 'v2', 'more.yaml'), yaml('web', 'c:1'));
    await shows(watch, 'b:1 c:1');
  });

  it('are seen at once when they change, by notice', async () => {
    await writeFile(join(home, 'web.yaml'), yaml('web', 'a:1'));
    const watch = await observe(backendOf(home, { pollMs: 600_000 })).synced(2000);
    await writeFile(join(home, 'web.yaml'), yaml('web', 'b:1'));
    await shows(watch, 'b:1');
  });

  it('show a sign of life at every poll, and their age as revision', async () => {
    await writeFile(join(home, 'web.yaml'), yaml('web', 'a:1'));
    await utimes(join(home, 'web.yaml'), 1_700_000_000, 1_700_000_000);
    const backend = backendOf(home);
    const watch = await observe(backend).synced(2000);
    await watch.until('signs of life', () => watch.counts.synced > 3, 5000);
    expect(watch.counts).toMatchObject({ reset: 1, upsert: 0, remove: 0, absent: 0 });
    expect(backend.info()).toEqual({ endpoint: home, leader: undefined, revision: '2023-11-14T22:13:20.000Z' });
  });
});

describe('a file that cannot be used', () => {
  it.each([
    ['does not parse', 'services: { web: [', /no YAML/],
    ['is empty', '', /must be a map/],
    ['has no list', 'services: { web: }', /services\."web" must be a list/],
    ['has other keys', 'services: {}\nweb: []', /no key beside "services".*"web"/],
    ['is too large', `services: {}\n${'#'.repeat(300_000)}`, /more than 262144 of yaml/],
    ['repeats a key', 'services: { web: [a:1], web: [] }', /unique/],
  ])('keeps what it said before while it %s, and says so', async (_what, text, why) => {
    const path = join(home, 'web.yaml');
    await writeFile(path, yaml('web', 'a:1'));
    await writeFile(join(home, 'pay.yaml'), yaml('pay', 'p:1'));
    const backend = backendOf(home);
    const watch = await observe(backend).synced(2000);
    await writeFile(path, text);
    await watch.until('the report', () => skips.length > 0, 5000);
    expect(skips[0]).toMatch(/^\*\/web\.yaml: /);
    expect(skips[0]).toMatch(why);
    expect(skips[0]).toMatch(/what it said before holds$/);
    await writeFile(join(home, 'pay.yaml'), yaml('pay', 'q:1'));
    await shows(watch, 'q:1', 'pay');
    expect(addresses(watch)).toBe('a:1');
    expect((await backend.list(ALL, AbortSignal.timeout(2000))).get('web')).toHaveLength(1);
    await writeFile(path, yaml('web', 'b:1'));
    await shows(watch, 'b:1');
    expect(skips).toHaveLength(1);
  });

  it('fails the first read, after telling what the other files hold', async () => {
    await writeFile(join(home, 'bad.yaml'), 'services: [');
    await writeFile(join(home, 'web.yaml'), yaml('web', 'a:1'));
    const backend = backendOf(home);
    const watch = observe(backend);
    await watch.until('the end', () => watch.end !== undefined, 5000);
    expect(addresses(watch)).toBe('a:1');
    expect(watch.counts.synced).toBe(0);
    expect(String(watch.end?.error)).toMatch(/bad\.yaml cannot be used: it is no YAML/);
    await expect(backend.list(ALL, AbortSignal.timeout(2000))).rejects.toThrow(/bad\.yaml/);
    await writeFile(join(home, 'bad.yaml'), yaml('pay', 'p:1'));
    const again = await observe(backend).synced(2000);
    expect([...again.table.keys()].sort()).toEqual(['pay', 'web']);
  });

  it('is used without what is wrong in one instance, and with what has an unknown key', async () => {
    await writeFile(
      join(home, 'web.yaml'),
      'services: { web: [{ host: a, port: 1, weigth: 5 }, { host: b, port: 99999 }, c:1], "no name": [d:1] }',
    );
    const watch = await observe(backendOf(home)).synced(2000);
    expect(addresses(watch)).toBe('a:1 c:1');
    expect(skips).toEqual([
      expect.stringMatching(/^web\/a-1: web\.yaml: used without what is wrong in it: .*weigth/),
      expect.stringMatching(/^web\/#2: web\.yaml: port: must be 1 to 65535/),
      expect.stringMatching(/^no name\/\*: web\.yaml: the service name must be/),
    ]);
  });

  it('is never half applied while it is written in place', async () => {
    const { tree, clock, watch } = await onMemory({ 'web.yaml': yaml('web', 'a:1', 'b:1', 'c:1', 'd:1') });
    const seen = new Set<string>();
    const next = ['a:2', 'b:2', 'c:2', 'd:2'];
    for (let lines = 0; lines <= 4; lines += 1) {
      tree.write('web.yaml', yaml('web', ...next.slice(0, lines)));
      for (let step = 0; step < 9; step += 1) {
        await clock.advanceAsync(10, 10);
        seen.add(addresses(watch));
      }
    }
    await clock.advanceAsync(1000, 10);
    expect(addresses(watch)).toBe(next.join(' '));
    expect([...seen]).toEqual(['a:1 b:1 c:1 d:1']);
    expect(skips).toEqual([]);
  });

  it('is not gone while it is missing for a moment', async () => {
    const { tree, clock, watch } = await onMemory({ 'web.yaml': yaml('web', 'a:1') });
    const text = tree.remove('web.yaml');
    await clock.advanceAsync(150, 10);
    tree.write('web.yaml', text);
    await clock.advanceAsync(1000, 10);
    expect(watch.counts.absent).toBe(0);
    expect(addresses(watch)).toBe('a:1');
    tree.remove('web.yaml');
    await clock.advanceAsync(1000, 10);
    expect(watch.counts.absent).toBe(1);
  });

  it('is reported where it never comes to rest, and looked at no more often than that takes', async () => {
    const { tree, clock, watch } = await onMemory({ 'web.yaml': yaml('web', 'a:1') });
    const looksBefore = tree.looks;
    for (let step = 0; step < 1000; step += 1) {
      tree.write('web.yaml', yaml('web', `a:${step + 2}`));
      await clock.advanceAsync(10, 10);
    }
    expect(skips).toEqual(['*/web.yaml: it keeps changing; what it said before holds']);
    expect(addresses(watch)).toBe('a:1');
    expect(tree.looks - looksBefore).toBeLessThan(100);
    await clock.advanceAsync(1000, 10);
    expect(addresses(watch)).toBe('a:1001');
  });

  it('is tried again at every poll where it cannot be read', async () => {
    const { tree, clock, watch } = await onMemory({ 'web.yaml': yaml('web', 'a:1') });
    tree.broken = true;
    tree.write('web.yaml', yaml('web', 'b:1'));
    await clock.advanceAsync(3000, 10);
    expect(addresses(watch)).toBe('a:1');
    expect(new Set(skips)).toEqual(
      new Set([
        '*/web.yaml: cannot read the instances in memory: input/output error; check registries[].path; what it said before holds',
      ]),
    );
    tree.broken = false;
    await clock.advanceAsync(1000, 10);
    expect(addresses(watch)).toBe('b:1');
  });
});

/** Files on a manual clock: what happens between two looks is up to the test. */
class MemoryTree implements FileTree {
  looks = 0;
  broken = false;
  readonly #files = new Map<string, { text: string; version: number }>();
  #version = 0;

  write(name: string, text: string): void {
    this.#files.set(name, { text, version: (this.#version += 1) });
  }

  remove(name: string): string {
    const text = this.#files.get(name)?.text ?? '';
    this.#files.delete(name);
    return text;
  }

  look(): Promise<Look> {
    this.looks += 1;
    const found = ([name, { text, version }]: [string, { text: string; version: number }]): [string, FoundFile] => [
      name,
      { path: name, identity: String(version), bytes: text.length, modifiedMs: version, format: 'yaml' },
    ];
    return Promise.resolve(new Map([...this.#files].map(found)));
  }

  read(file: FoundFile): Promise<string> {
    if (this.broken) return Promise.reject(new Error('input/output error'));
    const { text, version } = this.#files.get(file.path)!;
    return String(version) === file.identity ? Promise.resolve(text) : Promise.reject(new FileChanged(file.path));
  }
}

async function onMemory(
  files: Readonly<Record<string, string>>,
): Promise<{ tree: MemoryTree; clock: ManualClock; watch: Observation }> {
  const tree = new MemoryTree();
  for (const [name, text] of Object.entries(files)) tree.write(name, text);
  const clock = new ManualClock();
  const watch = observe(backendOf('memory', { clock, tree, pollMs: 200, settleMs: 100 }));
  await clock.advanceAsync(200, 10);
  expect(watch.counts.synced).toBe(1);
  return { tree, clock, watch };
}

describe('a file system', () => {
  it('with more files than the bound is not read', async () => {
    for (let at = 0; at < 4; at += 1) await writeFile(join(home, `${at}.yaml`), 'services: {}');
    const watch = observe(backendOf(home, { limits: { files: 3 } }));
    await watch.until('the end', () => watch.end !== undefined, 5000);
    expect(String(watch.end?.error)).toMatch(/there are 4 files, more than 3/);
  });

  it('with more bytes than the bound is read up to it', async () => {
    await writeFile(join(home, '1.yaml'), yaml('web', 'a:1'));
    const watch = await observe(backendOf(home, { limits: { totalBytes: 100 } })).synced(2000);
    await writeFile(join(home, '2.yaml'), `${yaml('web', 'b:1')}#${'x'.repeat(100)}`);
    await watch.until('the report', () => skips.length > 0, 5000);
    expect(skips[0]).toMatch(/2\.yaml: all files together have more than 100 bytes; nothing of it is known/);
    expect(addresses(watch)).toBe('a:1');
  });

  it('that hangs is a loss after its deadline, and is not asked again before it has answered', async () => {
    const clock = new ManualClock();
    let asked = 0;
    let answer = (): void => undefined;
    const tree: FileTree = {
      look: () => {
        asked += 1;
        return new Promise((resolve) => (answer = () => resolve(new Map())));
      },
      read: () => Promise.reject(new Error('nothing to read')),
    };
    const backend = backendOf('/mnt/gone', { clock, tree, ioMs: 10_000 });
    const watch = observe(backend);
    await clock.advanceAsync(10_100, 100);
    await watch.ended;
    expect(String(watch.end?.error)).toMatch(
      /\/mnt\/gone: no answer of the file system \(look\) within 10000 ms; check registries\[\]\.path/,
    );
    const second = observe(backend);
    await second.ended;
    expect(String(second.end?.error)).toMatch(/has not answered an earlier call yet/);
    expect(asked).toBe(1);
    answer();
    await clock.advanceAsync(10, 10);
    const third = observe(backend);
    await clock.advanceAsync(10, 10);
    expect(asked).toBe(2);
    answer();
    await clock.advanceAsync(10, 10);
    expect(third.counts.synced).toBe(1);
    await third.stop();
    expect(clock.pending).toBe(0);
  });

  it('that hangs does not hold up whoever gives up waiting', async () => {
    const tree: FileTree = { look: () => new Promise(() => undefined), read: () => Promise.reject(new Error('no')) };
    const backend = backendOf('/mnt/gone', { tree, ioMs: 300 });
    const first = observe(backend);
    const waiting = observe(backend);
    const controller = new AbortController();
    const list = backend.list(ALL, controller.signal);
    controller.abort();
    await expect(list).rejects.toThrow(/given up/);
    expect(await waiting.stop()).toBeLessThan(200);
    expect(await first.stop()).toBeLessThan(200);
  });
});

describe('the text of an instance file', () => {
  const parse = (text: string, format: 'yaml' | 'json'): Promise<Services> =>
    parseInstanceFile(text, { format, onSkip: () => undefined, pause: () => undefined });

  it('means the same as YAML and as JSON', async () => {
    const name = fc.stringMatching(/^[a-z][a-z0-9-]{0,10}$/);
    const record = fc.record({
      host: fc.ipV4(),
      port: fc.integer({ min: 1, max: 65_535 }),
      weight: fc.integer({ min: 1, max: 9 }),
    });
    await fc.assert(
      fc.asyncProperty(fc.dictionary(name, fc.array(record, { maxLength: 4 }), { maxKeys: 4 }), async (services) => {
        const text = JSON.stringify({ services });
        expect(await parse(text, 'yaml')).toEqual(await parse(text, 'json'));
      }),
    );
  });

  it.each([
    ['nesting without end', '['.repeat(20_000)],
    [
      'aliases that multiply',
      `a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b]\nservices: { w: [*c,*c,*c,*c,*c,*c] }`,
    ],
    ['tags that call something', 'services: !!js/function "x"'],
    ['a list that contains itself', 'services: { web: &a [*a] }'],
  ])('may be hostile: %s is an error or nothing', async (_what, text) => {
    const services = await parse(text, 'yaml').catch((error: unknown) => {
      expect(error).toBeInstanceOf(NotADocument);
      return new Map<string, Instance[]>();
    });
    expect([...services.values()].flat()).toEqual([]);
  });

  it('takes no name from the prototype', async () => {
    const services = await parse('{"services":{"__proto__":["a:1"],"constructor":["a:1"],"web":["a:1"]}}', 'json');
    expect([...services]).toEqual([['web', [instance({ service: 'web', id: 'a-1', host: 'a', port: 1 })]]]);
  });
});
