import { addressOf } from '../../core/instance.ts';
import type { Clock } from '../../core/clock.ts';
import { abortReason } from '../http-exchange.ts';
import { explainNetworkError, RegistryUnreachable, type NetworkFault, type RegistryLabel } from '../network-fault.ts';
import { DeadlinePassed } from '../deadline.ts';
import { canonicalName, NotTheAnswer, type DnsRecord, type DnsReply, type Question } from './message.ts';
import { askByTcp, askByUdp, type NameServer } from './transport.ts';

export interface ResolverOptions extends RegistryLabel {
  /** Tried in turn, the one that answered last first. */
  readonly servers: readonly NameServer[];
  /** Ask by TCP at once. Otherwise by UDP, and by TCP where the answer was truncated. */
  readonly tcp: boolean;
  /** For each try. */
  readonly timeoutMs: number;
  /** Questions under way at once; further ones wait. */
  readonly maxConcurrent: number;
  readonly clock: Clock;
}

/** What the name server knows about a question, CNAMEs followed. */
export interface Resolution {
  /** `nxdomain`: there is no such name. A name without such records is `found`, with none. */
  readonly kind: 'found' | 'nxdomain';
  readonly records: readonly DnsRecord[];
  readonly additionals: readonly DnsRecord[];
  /** How long the answer holds, found or not; undefined where an empty one does not say. */
  readonly ttlS: number | undefined;
  /** Who answered, as messages name it. */
  readonly endpoint: string;
}

/** Nobody could answer a question. */
export class LookupFailed extends RegistryUnreachable {
  override readonly name = 'LookupFailed';
  /** Every server answered that it will not answer us. */
  readonly refused: boolean;

  constructor(
    label: RegistryLabel,
    endpoint: string,
    fault: NetworkFault,
    text: string,
    refused: boolean,
    cause?: unknown,
  ) {
    super(label, endpoint, { fault, text }, cause);
    this.refused = refused;
  }
}

const NOERROR = 0;
const FORMERR = 1;
const SERVFAIL = 2;
const NXDOMAIN = 3;
const NOTIMP = 4;
const REFUSED = 5;
const RCODE_NAMES = ['NOERROR', 'FORMERR', 'SERVFAIL', 'NXDOMAIN', 'NOTIMP', 'REFUSED'];
/** A packet may get lost. */
const UDP_TRIES = 2;
const MAX_ALIASES = 8;

class BadAnswer extends Error {
  override readonly name = 'BadAnswer';
  readonly rcode: number;

  constructor(rcode: number) {
    super(`it answered ${RCODE_NAMES[rcode] ?? `code ${rcode}`}`);
    this.rcode = rcode;
  }
}

/** Asks name servers, with failover. Answers are facts or errors: a server that cannot say is never taken for "no". */
export class Resolver {
  readonly #options: ResolverOptions;
  readonly #waiting: (() => void)[] = [];
  #underWay = 0;
  #current = 0;

  constructor(options: ResolverOptions) {
    this.#options = options;
  }

  /** Follows CNAMEs. Throws `LookupFailed` when no server could say, or the reason of the signal. */
  async resolve(question: Question, signal: AbortSignal): Promise<Resolution> {
    let name = canonicalName(question.name);
    let ttlS: number | undefined;
    for (let aliases = 0; ; aliases += 1) {
      const { reply, endpoint } = await this.#ask({ name, type: question.type }, signal);
      const { records, last, chainTtlS } = followAliases(reply.answers, name, question.type);
      ttlS = least(ttlS, chainTtlS);
      if (records.length > 0) {
        for (const each of records) ttlS = least(ttlS, each.ttlS);
        return { kind: 'found', records, additionals: reply.additionals, ttlS, endpoint };
      }
      const isMissing = reply.rcode === NXDOMAIN;
      if (isMissing || last === name) {
        const kind = isMissing ? 'nxdomain' : 'found';
        return { kind, records: [], additionals: [], ttlS: least(ttlS, reply.negativeTtlS), endpoint };
      }
      // The alias leads out of what this server looked up for us.
      if (last === undefined || aliases === MAX_ALIASES) {
        const text = `answered that ${question.name} is an alias of an alias and so on, more than ${MAX_ALIASES} deep`;
        throw new LookupFailed(this.#options, endpoint, 'protocol', text, false);
      }
      name = last;
    }
  }

  async #ask(
    question: Question,
    signal: AbortSignal,
  ): Promise<{ readonly reply: DnsReply; readonly endpoint: string }> {
    await this.#enter(signal);
    try {
      const { servers } = this.#options;
      const failures: { readonly server: NameServer; readonly error: unknown }[] = [];
      const start = this.#current;
      for (let turn = 0; turn < servers.length; turn += 1) {
        const at = (start + turn) % servers.length;
        const server = servers[at];
        if (!server) break;
        try {
          const reply = await this.#askServer(server, question, signal);
          this.#current = at;
          return { reply, endpoint: endpointOf(server) };
        } catch (error) {
          if (signal.aborted) throw abortReason(signal);
          failures.push({ server, error });
        }
      }
      throw this.#failure(question, failures);
    } finally {
      this.#leave();
    }
  }

  async #askServer(server: NameServer, question: Question, signal: AbortSignal): Promise<DnsReply> {
    const reply = await this.#exchange(server, question, true, signal);
    const understood =
      reply.rcode === FORMERR || reply.rcode === NOTIMP ? await this.#exchange(server, question, false, signal) : reply;
    if (understood.rcode !== NOERROR && understood.rcode !== NXDOMAIN) throw new BadAnswer(understood.rcode);
    if (understood.referral)
      throw new NotTheAnswer('it refers to other name servers: ask one that resolves for others');
    return understood;
  }

  async #exchange(server: NameServer, question: Question, edns: boolean, signal: AbortSignal): Promise<DnsReply> {
    const { tcp, timeoutMs, clock } = this.#options;
    const ask = { server, question, edns, timeoutMs, clock };
    if (!tcp) {
      const reply = await this.#patiently(() => askByUdp(ask, signal));
      if (!reply.truncated) return reply;
    }
    const reply = await askByTcp(ask, signal);
    if (reply.truncated) throw new NotTheAnswer('an answer that is truncated even by TCP');
    return reply;
  }

  async #patiently(ask: () => Promise<DnsReply>): Promise<DnsReply> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await ask();
      } catch (error) {
        if (!(error instanceof DeadlinePassed) || attempt === UDP_TRIES) throw error;
      }
    }
  }

  #failure(
    { name, type }: Question,
    failures: readonly { readonly server: NameServer; readonly error: unknown }[],
  ): LookupFailed {
    const what = `${type} ${name}`;
    const parts = failures.map(({ server, error }) => `${endpointOf(server)}: ${this.#explain(error)}`);
    const endpoint = failures.map(({ server }) => endpointOf(server)).join(', ');
    const refused =
      failures.length > 0 && failures.every(({ error }) => error instanceof BadAnswer && error.rcode === REFUSED);
    const said = failures.length === 1 ? this.#explain(failures[0]?.error) : parts.join('; ');
    const text =
      failures.length === 0
        ? `there is no name server to ask for ${what}: set registries[].servers`
        : `cannot say what ${what} is: ${said}; check registries[].${this.#options.addressSetting}`;
    return new LookupFailed(this.#options, endpoint, faultOf(failures[0]?.error), text, refused, failures[0]?.error);
  }

  #explain(error: unknown): string {
    if (error instanceof BadAnswer || error instanceof NotTheAnswer || error instanceof DeadlinePassed)
      return error.message;
    // Its advice is the same as ours, which follows.
    return explainNetworkError(error, this.#options, false).text.replace(/;[^;]*$/, '');
  }

  async #enter(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (this.#underWay < this.#options.maxConcurrent) {
      this.#underWay += 1;
      return;
    }
    // Whoever leaves hands the place over; those before us are bounded by their own deadlines.
    await new Promise<void>((resolve) => this.#waiting.push(resolve));
    if (!signal.aborted) return;
    this.#leave();
    throw abortReason(signal);
  }

  #leave(): void {
    const next = this.#waiting.shift();
    if (next) next();
    else this.#underWay -= 1;
  }
}

/** Along the CNAMEs of one answer, to the records at their end. `last` undefined: they have no end. */
function followAliases(
  answers: readonly DnsRecord[],
  name: string,
  type: Question['type'],
): {
  readonly records: readonly DnsRecord[];
  readonly last: string | undefined;
  readonly chainTtlS: number | undefined;
} {
  let last = name;
  let chainTtlS: number | undefined;
  for (let aliases = 0; aliases <= MAX_ALIASES; aliases += 1) {
    const records = answers.filter((each) => each.type === type && each.name === last);
    if (records.length > 0) return { records, last, chainTtlS };
    const alias = answers.find((each) => each.type === 'CNAME' && each.name === last);
    if (alias?.type !== 'CNAME') return { records: [], last, chainTtlS };
    chainTtlS = least(chainTtlS, alias.ttlS);
    last = alias.target;
  }
  return { records: [], last: undefined, chainTtlS };
}

export function least(one: number | undefined, other: number | undefined): number | undefined {
  if (one === undefined || other === undefined) return one ?? other;
  return Math.min(one, other);
}

function endpointOf(server: NameServer): string {
  return addressOf(server);
}

function faultOf(error: unknown): NetworkFault {
  if (error instanceof DeadlinePassed) return 'timeout';
  if (error instanceof NotTheAnswer) return 'protocol';
  if (error instanceof BadAnswer) return error.rcode === SERVFAIL ? 'unwell' : 'protocol';
  return explainNetworkError(error, { registry: '', addressSetting: '' }, false).fault;
}
