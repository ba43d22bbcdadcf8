import { createAdminApp } from '../../src/admin/app.ts';
import type { CliContext } from '../../src/cli/verb.ts';
import type { ManualClock } from '../../src/core/clock.ts';
import { seededRandom } from '../../src/core/random.ts';
import { AdminFixture, type Settings } from '../admin/fixture.ts';

/** A verb's surroundings whose `fetch` ends in the admin API of a gateway in memory. */
export class CliFixture {
  readonly gateway: AdminFixture;
  readonly clock: ManualClock;
  readonly asked: string[] = [];
  readonly abort = new AbortController();
  env: Record<string, string | undefined> = {};
  cwd = '/nowhere';
  out = '';
  err = '';
  /** In place of the gateway. */
  answer: ((request: Request) => Response | Promise<Response>) | undefined;

  constructor(settings: Settings = {}) {
    this.gateway = new AdminFixture(settings);
    this.clock = this.gateway.clock;
  }

  get ctx(): CliContext {
    // Verbs see what they are given here and nothing else: whatever the context grows by is not for them.
    const context: Partial<CliContext> = {
      env: this.env,
      stdout: { write: (text: string) => (this.out += text) },
      stderr: { write: (text: string) => (this.err += text) },
      cwd: this.cwd,
      version: '1.2.3',
      fetch: (input, init) => this.#fetch(new Request(input, init)),
      clock: this.clock,
      random: seededRandom(1),
      signal: this.abort.signal,
      onSignal: () => () => undefined,
    };
    return context as CliContext;
  }

  /** Lets time pass until the verb has ended; returns its exit code. */
  async end(running: Promise<number>): Promise<number> {
    let code: number | undefined;
    void running.then((ended) => (code = ended));
    await this.until(() => code !== undefined);
    return running;
  }

  /** Lets time pass, a little more than a poll at a time, until the condition holds. */
  async until(condition: () => boolean): Promise<void> {
    const deadlineMs = performance.now() + 10_000;
    while (!condition()) {
      if (performance.now() > deadlineMs) throw new Error('waited for too long');
      await this.clock.advanceAsync(50);
      // Files are read and answers come in real time.
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  }

  async #fetch(request: Request): Promise<Response> {
    const { host, pathname, search } = new URL(request.url);
    this.asked.push(`${request.method} ${request.url}`);
    if (this.answer) return this.answer(request);
    const headers = new Headers(request.headers);
    headers.set('host', host);
    const app = createAdminApp(this.gateway.deps);
    const response = await app.request(`${pathname}${search}`, { method: request.method, headers });
    // What an operator asks for is published at the end of the turn.
    this.gateway.fleet.flush();
    return response;
  }
}
