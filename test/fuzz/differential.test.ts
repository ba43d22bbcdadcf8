import { describe, expect, it } from 'vitest';
import { seededRandom } from '../../src/core/random.ts';
import { receive } from '../http1/client-view.ts';
import { latin1, serve } from '../http1/server-view.ts';
import { escape, readCorpus } from './corpus.ts';
import { REQUEST_DIFFERENCES, RESPONSE_DIFFERENCES } from './explained.ts';
import { fuzz, LAWS, report } from './fuzzer.ts';
import { requestBreach, responseBreach } from './laws.ts';
import { MemoryGateway } from './memory-gateway.ts';
import { nodeRequests, nodeResponse } from './node-view.ts';
import { answerBreach, pathBreach } from './path-laws.ts';

const SECONDS = process.env.CI === 'true' ? 60 : 5;
const SEED = 20_261_121;

describe('the corpus', () => {
  it('keeps every law', async () => {
    const gateway = await MemoryGateway.start();
    const random = seededRandom(SEED);
    const breaches: string[] = [];
    const note = (name: string, breach: string | undefined): void => {
      if (breach !== undefined) breaches.push(`${name}: ${breach}`);
    };
    for (const { name, text } of readCorpus('requests')) {
      note(name, await requestBreach(random, text));
      note(name, await pathBreach(random, gateway, text));
    }
    for (const { name, text } of readCorpus('responses')) {
      for (const closed of [true, false]) note(name, await responseBreach(random, text, 'GET', closed));
      for (let i = 0; i < 10; i++) note(name, await answerBreach(random, gateway, text));
    }
    gateway.stop();
    expect(breaches).toEqual([]);
  });

  it('is read as it is written', () => {
    const inputs = [...readCorpus('requests'), ...readCorpus('responses')];
    expect(inputs.length).toBeGreaterThan(90);
    expect(new Set(inputs.map(({ name }) => name)).size).toBe(inputs.length);
    expect(escape('a\\\r\n\t\0\x7f\xe9')).toBe('a\\\\\\r\\n\\t\\0\\x7f\\xe9');
  });
});

describe('what Node reads otherwise', () => {
  it.each(REQUEST_DIFFERENCES)('is real and allowed: $example', async ({ applies, example }) => {
    const { requests } = serve([latin1(example)]);
    const { messages, error } = await nodeRequests(latin1(example), 10);
    const complete = messages.filter((message) => message.complete).length;
    expect(requests.filter((request) => request.complete).length).toBeGreaterThan(complete);
    expect(applies({ requests: requests.slice(0, complete + 1), error, text: example })).toBe(true);
  });

  it.each(RESPONSE_DIFFERENCES)('is real and allowed: $example', async ({ applies, example }) => {
    const response = receive([latin1(example)], 'GET', true);
    const { messages, error } = await nodeResponse(latin1(example), 'GET', true, 10);
    expect([response.complete, messages[0]?.complete ?? false]).toEqual([true, false]);
    expect(applies({ response, error, text: example })).toBe(true);
  });
});

describe(`for ${SECONDS} seconds of random messages`, () => {
  it(
    'less is accepted than by Node, never more, and what is passed on is what was sent',
    async () => {
      const { cases, finding } = await fuzz({ seed: SEED, seconds: SECONDS });
      if (finding) expect.fail(report(finding));
      for (const law of LAWS) expect([law, cases[law] > 0]).toEqual([law, true]);
    },
    SECONDS * 1000 + 120_000,
  );
});
