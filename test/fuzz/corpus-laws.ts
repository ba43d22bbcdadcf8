import { seededRandom } from '../../src/core/random.ts';
import { readCorpus } from './corpus.ts';
import { requestBreach, responseBreach } from './laws.ts';
import { MemoryGateway } from './memory-gateway.ts';
import { answerBreach, pathBreach } from './path-laws.ts';

/** How often an input is judged, where chance has a say: in pieces and in what is asked. */
const ROUNDS = 5;

/** Holds every input of the corpus to every law of its kind. Returns what broke, each with the name of its input. */
export async function replayCorpus(seed: number): Promise<{ inputs: number; breaches: string[] }> {
  const gateway = await MemoryGateway.start();
  const random = seededRandom(seed);
  const breaches: string[] = [];
  const note = (name: string, breach: string | undefined): void => {
    if (breach !== undefined) breaches.push(`${name}: ${breach}`);
  };
  const requests = readCorpus('requests');
  for (const { name, text } of requests) {
    note(name, await requestBreach(random, text));
    for (let i = 0; i < ROUNDS; i++) note(name, await pathBreach(random, gateway, text));
  }
  const responses = readCorpus('responses');
  for (const { name, text } of responses) {
    for (const method of ['GET', 'HEAD'])
      for (const closed of [true, false]) note(name, await responseBreach(random, text, method, closed));
    for (let i = 0; i < 2 * ROUNDS; i++) note(name, await answerBreach(random, gateway, text));
  }
  gateway.stop();
  return { inputs: requests.length + responses.length, breaches };
}
