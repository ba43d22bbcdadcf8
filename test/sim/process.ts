import type { Clock } from '../../src/core/clock.ts';
import { addressOf, type Instance } from '../../src/core/instance.ts';
import type { Random } from '../../src/core/random.ts';
import type { ProbeAnswer } from '../../src/health/probe.ts';
import type { TransportSink } from '../../src/http1/transport.ts';
import { Line, type Peer } from './line.ts';

/** What a process does to those who ask it something. */
export const MODES = [
  'up',
  /** Not there: connections are refused, and those there were are closed. */
  'dead',
  /** Stopped: the kernel accepts, nobody answers. What came meanwhile is answered when it goes on. */
  'hung',
  /** Its packets are dropped, both ways. */
  'black-hole',
  'slow',
  /** 503 at once. */
  'failing',
  /** Half of the body, then a reset. */
  'cutting',
  /** A reset in place of an answer. */
  'resetting',
  /** Not HTTP. */
  'babbling',
] as const;
export type Mode = (typeof MODES)[number];

export interface ProcessHabits {
  readonly latencyMs: number;
  /** From a request to its answer; each takes up to twice as long. */
  readonly serviceMs: number;
  /** It closes connections that were idle for so long, and does not say so. */
  readonly idleCloseMs: number;
}

/** What the world wants to know of every process. */
export interface ProcessWatcher {
  executed(id: string, method: string, process: Process): void;
  noted(text: () => string): void;
}

interface Asked {
  readonly id: string;
  readonly method: string;
}

/** What a request is answered with; the client knows it too. */
export function bodyOf(id: string): string {
  return `<${id}>`.repeat(1 + (Number(id.slice(1)) % 7) * 5);
}

/** Whether a POST has one. */
export function hasBody(id: string): boolean {
  return Number(id.slice(1)) % 3 !== 0;
}

const REQUEST = /^([A-Z]+) \/(\S+) HTTP\/1\.1\r\n/;

/** One process that serves one address, as unreliable as it is told to be. */
export class Process {
  readonly instance: Instance;
  readonly habits: ProcessHabits;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #watcher: ProcessWatcher;
  readonly #lines = new Set<ProcessLine>();
  #mode: Mode = 'up';
  /** What was to happen while it stood still. */
  #postponed: (() => void)[] = [];
  /** Connections that were begun, whatever became of them. */
  connects = 0;

  constructor(instance: Instance, habits: ProcessHabits, clock: Clock, random: Random, watcher: ProcessWatcher) {
    this.instance = instance;
    this.habits = habits;
    this.#clock = clock;
    this.#random = random;
    this.#watcher = watcher;
  }

  get mode(): Mode {
    return this.#mode;
  }

  get runs(): boolean {
    return this.#mode !== 'dead' && this.#mode !== 'hung' && this.#mode !== 'black-hole';
  }

  become(mode: Mode): void {
    if (mode === this.#mode) return;
    this.#watcher.noted(() => `${this.instance.id} is ${mode}`);
    this.#mode = mode;
    if (mode === 'dead') {
      this.#postponed = [];
      for (const line of this.#lines) line.kill(this.#random() < 0.5);
      this.#lines.clear();
    } else if (this.runs) {
      for (const what of this.#postponed.splice(0)) what();
    }
  }

  /** `done` comes once, later, unless the returned function or `abandoned` says that nobody waits any more. */
  readonly connect = (
    sink: TransportSink,
    done: (line: Line | undefined, code: string | undefined) => void,
    abandoned: () => boolean,
  ): (() => void) => {
    const { latencyMs } = this.habits;
    this.connects++;
    if (this.#mode === 'black-hole') return () => undefined;
    return this.#clock.after(latencyMs, () => {
      if (abandoned()) return;
      if (this.#mode === 'dead') {
        done(undefined, 'ECONNREFUSED');
        return;
      }
      const line = new Line(sink, this.#clock, latencyMs);
      const peer = new ProcessLine(this, line);
      line.peer = peer;
      this.#lines.add(peer);
      done(line, undefined);
    });
  };

  probe(type: string): { afterMs: number; answer: ProbeAnswer } | undefined {
    const { latencyMs } = this.habits;
    const pass = { afterMs: 2 * latencyMs, answer: { result: 'pass', text: 'fine' } } as const;
    const fail = (text: string) => ({ afterMs: 2 * latencyMs, answer: { result: 'fail', text } as const });
    switch (this.#mode) {
      case 'up':
      case 'slow':
        return pass;
      case 'dead':
        return fail('connection refused');
      case 'black-hole':
        return undefined;
      case 'hung':
        return type === 'tcp' ? pass : undefined;
      case 'failing':
      case 'cutting':
      case 'resetting':
      case 'babbling':
        return type === 'tcp' ? pass : fail(`it is ${this.#mode}`);
    }
  }

  /** A whole request has come, while it ran. */
  execute(asked: Asked, line: ProcessLine): void {
    this.#watcher.executed(asked.id, asked.method, this);
    const mode = this.#mode;
    const tookMs = this.habits.serviceMs * (mode === 'slow' ? 40 : 1) * 2 * this.#random();
    this.#clock.after(mode === 'failing' ? 1 : tookMs, () => {
      this.whenRunning(() => {
        this.#answer(asked, line, mode);
      });
    });
  }

  whenRunning(what: () => void): void {
    if (this.runs) what();
    else if (this.#mode !== 'dead') this.#postponed.push(what);
  }

  forget(line: ProcessLine): void {
    this.#lines.delete(line);
  }

  closeIdle(line: ProcessLine): void {
    const requests = line.requests;
    this.#clock.after(this.habits.idleCloseMs, () => {
      if (this.runs && line.requests === requests) line.kill(false);
    });
  }

  #answer({ id }: Asked, line: ProcessLine, mode: Mode): void {
    const body = bodyOf(id);
    const head = (status: string): string =>
      `HTTP/1.1 ${status}\r\nX-Id: ${id}\r\nX-By: ${this.instance.id}\r\nContent-Length: ${body.length}\r\n\r\n`;
    switch (mode) {
      case 'failing':
        line.say(`${head('503 Busy')}${body}`);
        break;
      case 'cutting':
        line.say(`${head('200 OK')}${body.slice(0, body.length >> 1)}`);
        line.kill(true);
        return;
      case 'resetting':
        line.kill(true);
        return;
      case 'babbling':
        line.say('220 mail ready\r\n');
        line.kill(false);
        return;
      case 'up':
      case 'slow':
      case 'dead':
      case 'hung':
      case 'black-hole':
        this.#answerWell(head('200 OK'), id, body, line);
    }
    line.answered();
    this.closeIdle(line);
  }

  #answerWell(head: string, id: string, body: string, line: ProcessLine): void {
    const how = this.#random();
    if (how < 0.15) {
      const size = body.length.toString(16);
      line.say(`HTTP/1.1 200 OK\r\nX-Id: ${id}\r\nTransfer-Encoding: chunked\r\n\r\n${size}\r\n${body}\r\n0\r\n\r\n`);
    } else if (how < 0.3) {
      line.say(head);
      line.say(body);
    } else if (how < 0.35) {
      line.say(`${head.replace('\r\n', '\r\nConnection: close\r\n')}${body}`);
      line.kill(false);
    } else {
      line.say(`${head}${body}`);
    }
  }
}

/** The process's end of one connection: one request at a time. */
class ProcessLine implements Peer {
  requests = 0;
  readonly #process: Process;
  readonly #line: Line;
  #text = '';
  #busy = false;
  #closed = false;

  constructor(process: Process, line: Line) {
    this.#process = process;
    this.#line = line;
  }

  received(text: string): void {
    this.#text += text;
    this.#process.whenRunning(() => {
      this.#read();
    });
  }

  ended(): void {
    this.gone();
  }

  /** A stopped process still finds what had been sent before. */
  gone(): void {
    this.#process.whenRunning(() => {
      this.#closed = true;
      this.#process.forget(this);
    });
  }

  say(text: string): void {
    if (!this.#closed) this.#line.say(text);
  }

  answered(): void {
    this.#busy = false;
    this.#read();
  }

  kill(byReset: boolean): void {
    if (this.#closed) return;
    this.#closed = true;
    if (byReset) this.#line.rst();
    else this.#line.fin();
    this.#process.forget(this);
  }

  #read(): void {
    if (this.#busy || this.#closed) return;
    const end = this.#text.indexOf('\r\n\r\n');
    if (end < 0) return;
    const head = this.#text.slice(0, end + 2);
    const length = Number(/\r\ncontent-length: (\d+)\r\n/i.exec(head)?.[1] ?? 0);
    if (this.#text.length < end + 4 + length) return;
    const line = REQUEST.exec(head);
    if (!line) throw new Error(`${this.#process.instance.id} was sent nonsense: ${head}`);
    const [, method, id] = line as unknown as [string, string, string];
    const body = this.#text.slice(end + 4, end + 4 + length);
    if (length > 0 && body !== bodyOf(id)) throw new Error(`the body of ${id} arrived changed`);
    this.#text = this.#text.slice(end + 4 + length);
    this.#busy = true;
    this.requests++;
    this.#process.execute({ id, method }, this);
  }
}

/** Who is behind which address. */
export class Network {
  readonly #processes = new Map<string, Process>();

  start(process: Process): void {
    this.#processes.set(addressOf(process.instance), process);
  }

  get processes(): Iterable<Process> {
    return this.#processes.values();
  }

  at(host: string, port: number): Process {
    const process = this.#processes.get(addressOf({ host, port }));
    if (!process) throw new Error(`nobody ever was at ${host}:${port}`);
    return process;
  }
}
