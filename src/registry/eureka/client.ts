import type { Clock } from '../../core/clock.ts';
import { RegistryRefusal } from '../backend.ts';
import { HttpClient, parseJson, type HttpReply } from '../http-client.ts';
import { AllEndpointsFailed, RegistryUnreachable, type RegistryLabel } from '../network-fault.ts';
import type { TlsMaterial } from '../tls-material.ts';
import { parseApplications, type Applications } from './applications.ts';

export interface ClientOptions extends RegistryLabel {
  readonly urls: readonly string[];
  readonly tls: TlsMaterial | undefined;
  readonly connectMs: number;
  readonly requestMs: number;
  readonly maxBodyBytes: number;
  readonly clock: Clock;
}

export type Answer = Applications & { readonly endpoint: string };

/** Asks the servers of a Eureka: always one of them at a time, and what belongs together of the same one. */
export class EurekaClient {
  readonly #options: ClientOptions;
  readonly #servers: readonly HttpClient[];
  #current: number;

  /** `first`: index of the server to begin with. Throws `RegistryUnreachable` where a URL is none. */
  constructor(options: ClientOptions, first: number) {
    this.#options = options;
    this.#current = first;
    const { urls, registry, addressSetting, tls, clock } = options;
    this.#servers = urls.map((url) => new HttpClient({ registry, addressSetting, endpoints: [url], tls, clock }));
  }

  /** The server that is asked next. */
  get current(): number {
    return this.#current;
  }

  /**
   * Everything, from the first server that gives an answer which `judge` accepts (it throws `RegistryUnreachable` where
   * not). Throws the refusal, if one of them refused; otherwise every server's failure.
   */
  async full(judge: (answer: Answer) => void, signal: AbortSignal): Promise<Answer> {
    const failures: RegistryUnreachable[] = [];
    let refusal: RegistryRefusal | undefined;
    const start = this.#current;
    for (let turn = 0; turn < this.#servers.length; turn += 1) {
      this.#current = (start + turn) % this.#servers.length;
      try {
        const answer = this.#parse(await this.#get('/apps/', signal));
        judge(answer);
        return answer;
      } catch (error) {
        if (error instanceof RegistryRefusal) refusal ??= error;
        else if (error instanceof RegistryUnreachable) failures.push(error);
        else throw error;
      }
    }
    const [first] = failures;
    throw refusal ?? (first && failures.length === 1 ? first : new AllEndpointsFailed(this.#options, failures));
  }

  /** What changed in the last minutes. Undefined: the server has no deltas, or not now; ask it for everything. */
  async delta(signal: AbortSignal): Promise<Answer | undefined> {
    try {
      return this.#parse(await this.#get('/apps/delta', signal));
    } catch (error) {
      // 403: deltas are turned off, or the server has just started. Whatever else it is, `full` will find out.
      if (error instanceof RegistryUnreachable || error instanceof RegistryRefusal) return undefined;
      throw error;
    }
  }

  close(): void {
    for (const server of this.#servers) server.close();
  }

  async #get(path: string, signal: AbortSignal): Promise<HttpReply> {
    const server = this.#servers[this.#current];
    if (!server) throw new AllEndpointsFailed(this.#options, []);
    const { connectMs, requestMs, maxBodyBytes } = this.#options;
    // The one format whose fields are the same in every version.
    const headers = { accept: 'application/json' };
    const request = { path, headers, connectMs, headMs: requestMs, idleMs: requestMs, maxBodyBytes };
    const reply = await server.request(request, signal);
    if (reply.status === 200) return reply;
    throw this.#verdict(reply);
  }

  #verdict({ status, endpoint }: HttpReply): Error {
    const { registry } = this.#options;
    const who = `registry "${registry}" at ${endpoint}`;
    if (status === 401) {
      return new RegistryRefusal(
        `${who} refused us (401): write user and password into registries[].urls, as http://user:password@host`,
      );
    }
    if (status === 404) {
      const paths = 'they end in /eureka for Spring’s server, in /eureka/v2 for Netflix’s';
      return new RegistryRefusal(`${who} has no Eureka under that path (404): check registries[].urls; ${paths}`);
    }
    const text =
      status === 403
        ? 'gives no list (403): it has started without its registrations and waits for them, or does not let us in; check registries[].urls if it stays'
        : `answered that it cannot serve (${status}); check registries[].urls`;
    return new RegistryUnreachable(this.#options, endpoint, { fault: 'unwell', text });
  }

  #parse(reply: HttpReply): Answer {
    const applications = parseApplications(parseJson(reply, this.#options));
    if (applications) return { ...applications, endpoint: reply.endpoint };
    const text = 'answered something that is not a list of applications; check registries[].urls';
    throw new RegistryUnreachable(this.#options, reply.endpoint, { fault: 'protocol', text });
  }
}
