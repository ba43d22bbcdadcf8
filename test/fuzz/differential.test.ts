import { describe, expect, it } from 'vitest';
import { receive } from '../http1/client-view.ts';
import { latin1, serve } from '../http1/server-view.ts';
import { readRequests, readResponses } from '../http1/strict-reader.ts';
import { replayCorpus } from './corpus-laws.ts';
import { escape, readCorpus } from './corpus.ts';
import { REQUEST_DIFFERENCES, RESPONSE_DIFFERENCES } from './explained.ts';
import { fuzz, LAWS, report } from './fuzzer.ts';
import { nodeRequests, nodeResponse } from './node-view.ts';
import { AFTER_THE_LAST, LIMITED, STRICTER_REQUESTS, STRICTER_RESPONSES } from './stricter.ts';

/** So many are tried in any case; what is left of the time goes into more of them. */
const CASES = 1000;
const SECONDS = process.env.CI === 'true' ? 30 : 2;
const SEED = 20_261_121;
/** For a machine that does other things, too: nothing here is about time. */
const PATIENCE_MS = 300_000;

describe('the corpus', () => {
  it(
    'keeps every law',
    async () => {
      const { inputs, breaches } = await replayCorpus(SEED);
      expect(breaches).toEqual([]);
      expect(inputs).toBeGreaterThan(90);
    },
    PATIENCE_MS,
  );

  it('is read as it is written', () => {
    const inputs = [...readCorpus('requests'), ...readCorpus('responses')];
    expect(new Set(inputs.map(({ name }) => name)).size).toBe(inputs.length);
    expect(escape('a\\\r\n\t\0\x7f\xe9')).toBe('a\\\\\\r\\n\\t\\0\\x7f\\xe9');
  });
});

describe('what is accepted here and not by Node', () => {
  it.each(REQUEST_DIFFERENCES)('is real in a request, and known as $name', async ({ name, applies, example }) => {
    const { requests } = serve([latin1(example)]);
    const { messages, error } = await nodeRequests(latin1(example), 10);
    const complete = messages.filter((message) => message.complete).length;
    expect(requests.filter((request) => request.complete).length).toBeGreaterThan(complete);
    expect([name, applies({ requests: requests.slice(0, complete + 1), error, text: example })]).toEqual([name, true]);
  });

  it.each(RESPONSE_DIFFERENCES)('is real in a response, and known as $name', async ({ name, applies, example }) => {
    const response = receive([latin1(example)], 'GET', true);
    const { messages, error } = await nodeResponse(latin1(example), 'GET', true, 10);
    expect([response.complete, messages[0]?.complete ?? false]).toEqual([true, false]);
    expect([name, applies({ response, error, text: example })]).toEqual([name, true]);
  });
});

describe('what is refused here and read by Node', () => {
  it.each(STRICTER_REQUESTS)('is real in a request, and known as $name', async ({ name, example, endless }) => {
    const view = serve([latin1(example)]);
    const { messages } = await nodeRequests(latin1(example), 10);
    const complete = (each: readonly { complete: boolean }[]): number => each.filter((one) => one.complete).length;
    if (endless) expect(messages.length).toBeGreaterThan(view.requests.length);
    else expect(complete(messages)).toBeGreaterThan(complete(view.requests));
    if (name === AFTER_THE_LAST) {
      expect([view.refusals, view.requests.at(-1)?.keepAlive]).toEqual([[], false]);
      return;
    }
    expect(view.refusals).toEqual([name]);
    if (!LIMITED.has(name)) expect(complete(readRequests(example).messages)).toBe(complete(view.requests));
  });

  it.each(STRICTER_RESPONSES)('is real in a response, and known as $name', async ({ name, example, endless }) => {
    const view = receive([latin1(example)], 'GET', true);
    const { messages } = await nodeResponse(latin1(example), 'GET', true, 10);
    expect([view.complete, view.failure, messages[0]?.complete]).toEqual([false, `protocol: ${name}`, !endless]);
    const final = readResponses(example, ['GET'], true).messages.find(({ line }) => !line.startsWith('HTTP/1.1 1'));
    if (!LIMITED.has(name)) expect(final?.complete ?? false).toBe(false);
  });
});

describe(`random messages, ${CASES} and more for ${SECONDS} s`, () => {
  it(
    'never get through where Node does not read the same, and reach instances and clients as they were sent',
    async () => {
      const { cases, finding } = await fuzz({ seed: SEED, atLeast: CASES, seconds: SECONDS });
      if (finding) expect.fail(report(finding));
      expect(LAWS.filter((law) => cases[law] === 0)).toEqual([]);
    },
    PATIENCE_MS,
  );

  it('are the same again for the same seed', async () => {
    const first = await fuzz({ seed: SEED, atLeast: 100, seconds: 0 });
    const again = await fuzz({ seed: SEED, atLeast: 100, seconds: 0 });
    expect([again.cases, [...again.differences]]).toEqual([first.cases, [...first.differences]]);
  });
});
