/** Requests of every kind, answered, broken off by the client or by the instance (`test/servers/mixed-origin.ts`). */
import type { Random } from '../../src/core/random.ts';
import type { RawClient, RawOutcome } from './raw-client.ts';
import { pause } from './world.ts';

const BYTES = Buffer.alloc(65_536, 'z');
const UPGRADE =
  'Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AQIDBAUGBwgJCgsMDQ4PEA==\r\n';

export class Tally {
  readonly counts = new Map<string, number>();
  readonly wrong: string[] = [];
  readonly #also: readonly (number | 'broken')[];

  /** `also`: outcomes that are no defect for any request, such as those of an instance killed within it. */
  constructor(also: readonly (number | 'broken')[] = []) {
    this.#also = also;
  }

  count(what: string): void {
    this.counts.set(what, (this.counts.get(what) ?? 0) + 1);
  }

  /** Broken connections and answers of the gateway itself are counted; another's answer is a defect. */
  take(kind: string, number: number, outcome: RawOutcome, expected: readonly (number | 'broken')[]): void {
    const status = outcome === 'broken' ? outcome : outcome.status;
    this.count(`${kind} ${status}`);
    if (!expected.includes(status) && !this.#also.includes(status)) this.wrong.push(`${kind} ${number}: ${status}`);
    if (outcome === 'broken' || outcome.status !== 200) return;
    if (!outcome.head.includes(`x-number: ${number}\r\n`) && !outcome.head.endsWith(`x-number: ${number}`))
      this.wrong.push(`${kind} ${number} got ${outcome.head}`);
  }
}

export type Kind = (client: RawClient, number: number, tally: Tally, random: Random) => Promise<void>;

const head = (method: string, path: string, fields = ''): string =>
  `${method} ${path} HTTP/1.1\r\nHost: web.localhost\r\n${fields}\r\n`;

/** With its share of all requests. */
export const KINDS: readonly (readonly [share: number, name: string, kind: Kind])[] = [
  [
    0.55,
    'get',
    async (client, number, tally) =>
      tally.take('get', number, await client.ask(head('GET', `/plain/${number}`)), [200]),
  ],
  [
    0.1,
    'chunks',
    async (client, number, tally) =>
      tally.take('chunks', number, await client.ask(head('GET', `/chunks/${number}`)), [200]),
  ],
  [
    0.12,
    'post',
    async (client, number, tally, random) => {
      const body = BYTES.subarray(0, Math.floor(random() * 20_000));
      const asked = client.ask(head('POST', `/plain/${number}`, `Content-Length: ${body.length}\r\n`), body);
      const outcome = await asked;
      tally.take('post', number, outcome, [200]);
      if (
        outcome !== 'broken' &&
        outcome.status === 200 &&
        !outcome.head.toLowerCase().includes(`x-received: ${body.length}`)
      )
        tally.wrong.push(`post ${number}: sent ${body.length}, ${outcome.head}`);
    },
  ],
  [
    0.08,
    'chunked post',
    async (client, number, tally) => {
      const parts: (string | Buffer)[] = [head('POST', `/plain/${number}`, 'Transfer-Encoding: chunked\r\n')];
      for (let i = 0; i < 3; i++) parts.push('1000\r\n', BYTES.subarray(0, 4096), '\r\n');
      tally.take('chunked post', number, await client.ask(...parts, '0\r\n\r\n'), [200]);
    },
  ],
  [
    0.003,
    'MiB down',
    async (client, number, tally) =>
      tally.take('MiB down', number, await client.ask(head('GET', `/mib/${number}`)), [200]),
  ],
  [
    0.003,
    'MiB up',
    async (client, number, tally) => {
      const parts = Array.from({ length: 16 }, () => BYTES);
      const asked = client.ask(head('POST', `/plain/${number}`, 'Content-Length: 1048576\r\n'), ...parts);
      tally.take('MiB up', number, await asked, [200]);
    },
  ],
  [
    0.02,
    'early answer',
    async (client, number, tally) => {
      const outcome = await client.ask(head('POST', `/early/${number}`, 'Content-Length: 200000\r\n'), BYTES);
      tally.take('early answer', number, outcome, [200]);
      client.close();
    },
  ],
  [
    0.01,
    'upgrade',
    async (client, number, tally, random) => {
      const outcome = await client.ask(head('GET', `/socket/${number}`, UPGRADE));
      tally.take('upgrade', number, outcome, [101]);
      if (outcome !== 'broken' && outcome.status === 101) {
        const echo = await client.echo(BYTES.subarray(0, 1 + Math.floor(random() * 30_000)));
        if (echo === 'broken') tally.take('tunnel', number, echo, []);
        else if (echo === 'altered') tally.wrong.push(`tunnel ${number}: ${echo}`);
      }
      client.close();
    },
  ],
  [
    0.05,
    'client leaves',
    async (client, number, tally, random) => {
      const paths = ['slow', 'slow', 'slow', 'plain', 'chunks', random() < 0.1 ? 'mib' : 'slow'];
      const path = paths[Math.floor(random() * paths.length)]!;
      const asked =
        random() < 0.7
          ? client.ask(head('GET', `/${path}/${number}`))
          : client.ask(head('POST', `/plain/${number}`, 'Content-Length: 300000\r\n'), BYTES);
      if (random() < 0.7) await pause(random() * 20);
      if (random() < 0.5) client.socket.resetAndDestroy();
      else client.close();
      tally.take('client leaves', number, await asked, [200, 'broken']);
    },
  ],
  [
    0.014,
    'instance breaks off before',
    async (client, number, tally) => {
      const outcome = await client.ask(head('POST', `/cut-before/${number}`, 'Content-Length: 5\r\n'), 'hello');
      tally.take('instance breaks off before', number, outcome, [502]);
    },
  ],
  [
    0.01,
    'instance breaks off within',
    async (client, number, tally) => {
      const outcome = await client.ask(head('GET', `/cut-within/${number}`));
      tally.take('instance breaks off within', number, outcome, ['broken', 502]);
      client.close();
    },
  ],
];

export function pick(random: Random, kinds = KINDS): Kind {
  let at = random() * kinds.reduce((sum, [share]) => sum + share, 0);
  for (const [share, , kind] of kinds) if ((at -= share) < 0) return kind;
  return kinds[0]![2];
}
