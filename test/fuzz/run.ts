import { parseArgs } from 'node:util';
import { systemRandom } from '../../src/core/random.ts';
import { replayCorpus } from './corpus-laws.ts';
import { freshSeed, fuzz, report } from './fuzzer.ts';

const USAGE = `npm run fuzz -- [--seconds 600] [--seed N] [--cases N]

Holds the corpus, and then random messages, to the laws of test/fuzz. Ends with 1 where one is broken, and prints how to
see it again. --cases N with --seed S runs N cases from S on, however long they take.`;

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '600' },
    seed: { type: 'string' },
    cases: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
});

function whole(name: string, text: string): number {
  if (/^\d{1,12}$/.test(text)) return Number(text);
  console.error(`--${name} ${text} is not a whole number\n${USAGE}`);
  process.exit(2);
}

async function run(): Promise<number> {
  const seed = values.seed === undefined ? freshSeed(systemRandom) : whole('seed', values.seed);
  const atMost = values.cases === undefined ? undefined : whole('cases', values.cases);
  const seconds = atMost === undefined ? whole('seconds', values.seconds) : 0;
  const beganMs = performance.now();
  const elapsed = (): number => Math.round((performance.now() - beganMs) / 1000);
  const { inputs, breaches } = await replayCorpus(seed);
  console.log(`corpus: ${inputs} inputs, ${breaches.length} of them break a law`);
  if (breaches.length > 0) console.error(breaches.join('\n'));
  console.log(`random: seed ${seed}, ${atMost === undefined ? `${seconds} s` : `${atMost} cases`}`);
  const { cases, differences, finding } = await fuzz({
    seed,
    seconds,
    atLeast: atMost ?? 1,
    onProgress: (done) => {
      if (done % 20_000 === 0) console.log(`${elapsed()} s: ${done} cases`);
    },
  });
  const tried = Object.values(cases).reduce((sum, each) => sum + each, 0);
  console.log(`${tried} cases in ${elapsed()} s:`, cases);
  console.log('read otherwise than by Node, each for a known reason:', Object.fromEntries(differences));
  if (finding) console.error(report(finding));
  return finding || breaches.length > 0 ? 1 : 0;
}

if (values.help) console.log(USAGE);
// Sockets of Node's own server may linger: what was to be found out has been.
else process.exit(await run());
