import { z } from 'zod';
import { type Clock, sleep } from '../core/clock.ts';
import type { Channel } from './channel.ts';
import type { NamedSocket } from './sockets.ts';

/**
 * What two gateways say to each other when one takes the place of the other. They may be of different versions: a
 * predecessor that speaks another protocol is refused, and goes on.
 *
 *   predecessor → hello      here are my listening sockets, and what operators have drained
 *   successor   → release    all else is ready: give the embedded registries up
 *   predecessor → released   their directories and listeners are yours
 *   successor   → serving    I accept clients and operators: you may go
 *   predecessor → farewell   this is what operators have drained, and taken back, since `hello`
 *
 * Whatever breaks before `serving` leaves the predecessor in charge: it takes the registries back.
 */
export const PROTOCOL = 1;

const socket = z.object({
  setting: z.string(),
  host: z.string(),
  port: z.int(),
  fd: z.int().min(3),
  held: z.boolean().optional(),
});

/** A service and an instance of it. */
const name = z.tuple([z.string(), z.string()]);

const fromPredecessor = z.discriminatedUnion('type', [
  z.object({
    type: z.literal('hello'),
    protocol: z.literal(PROTOCOL),
    sockets: z.array(socket),
    drained: z.array(name),
  }),
  z.object({ type: z.literal('released') }),
  z.object({ type: z.literal('farewell'), drained: z.array(name), undrained: z.array(name) }),
]);

export const fromSuccessor = z.discriminatedUnion('type', [
  z.object({ type: z.literal('release') }),
  z.object({ type: z.literal('serving') }),
]);

export type FromPredecessor = z.infer<typeof fromPredecessor>;
export type FromSuccessor = z.infer<typeof fromSuccessor>;

type Drained = readonly (readonly [service: string, instance: string])[];

const ANSWER_MS = 20_000;

/** The gateway whose place this process takes, while it is being taken. */
export class Predecessor {
  readonly sockets: readonly NamedSocket[];
  /** Instances out of rotation at an operator's word, which the successor keeps. */
  readonly drained: Drained;
  readonly #channel: Channel;
  readonly #clock: Clock;

  private constructor(channel: Channel, clock: Clock, hello: { sockets: readonly NamedSocket[]; drained: Drained }) {
    this.#channel = channel;
    this.#clock = clock;
    this.sockets = hello.sockets;
    this.drained = hello.drained;
  }

  /** Rejects where it says nothing, or nothing that we understand. */
  static async meet(channel: Channel, clock: Clock): Promise<Predecessor> {
    const hello = await answer(channel, clock);
    if (hello === undefined) throw new Error('the gateway that started this one is gone');
    if (hello.type !== 'hello') throw new Error(`the gateway that started this one began with ${hello.type}`);
    return new Predecessor(channel, clock, hello);
  }

  /** Resolves when the embedded registries are free: given up, or left by a predecessor that died. */
  async release(): Promise<void> {
    const answered = answer(this.#channel, this.#clock);
    this.#channel.send({ type: 'release' } satisfies FromSuccessor);
    await answered;
  }

  /**
   * From now on clients and operators are answered here. Resolves with what operators have done meanwhile; with nothing
   * where the predecessor is gone, or says no more.
   */
  async serving(): Promise<{ readonly drained: Drained; readonly undrained: Drained }> {
    const answered = answer(this.#channel, this.#clock);
    this.#channel.send({ type: 'serving' } satisfies FromSuccessor);
    const farewell = await answered.catch(() => undefined);
    this.#channel.close();
    return farewell?.type === 'farewell' ? farewell : { drained: [], undrained: [] };
  }
}

/** The next message; undefined where the other end is gone. Rejects after a while, and for what is no message. */
async function answer(channel: Channel, clock: Clock): Promise<FromPredecessor | undefined> {
  const enough = new AbortController();
  const said = new Promise<unknown>((resolve) => {
    channel.onMessage(resolve);
    channel.onClosed(() => {
      resolve(undefined);
    });
  });
  const late = sleep(clock, ANSWER_MS, enough.signal).then(() => {
    if (enough.signal.aborted) return undefined;
    throw new Error(`the gateway that started this one has not answered for ${ANSWER_MS / 1000} s`);
  });
  const message = await Promise.race([said, late]).finally(() => enough.abort());
  if (message === undefined) return undefined;
  const parsed = fromPredecessor.safeParse(message);
  if (!parsed.success) throw new Error('the gateway that started this one speaks another protocol: restart instead');
  return parsed.data;
}
