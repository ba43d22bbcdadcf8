import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { findBinary, until } from './real-server.ts';

/** Undefined where the machine has none: Debian's package is chromium. */
export const chromiumBinary = findBinary(['chromium', 'chromium-browser', 'google-chrome'], '--version');

/** A test run that is broken off must not leave browsers behind. */
const running = new Set<ChildProcess>();
process.once('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});

type Message = {
  readonly id?: number;
  readonly sessionId?: string;
  readonly method?: string;
  readonly params?: Record<string, never>;
  readonly result?: Record<string, never>;
  readonly error?: { readonly message: string };
};

/** A real browser without a window, spoken to in its own protocol (Chrome DevTools) over a pipe: no port, no driver. */
export class Browser {
  readonly #child: ChildProcess;
  readonly #profile: string;
  readonly #waiting = new Map<number, { done: (result: Record<string, never>) => void; fail: (e: Error) => void }>();
  readonly #pages = new Map<string, Page>();
  #last = 0;

  private constructor(child: ChildProcess, profile: string) {
    this.#child = child;
    this.#profile = profile;
    let rest = '';
    (child.stdio[4] as Readable).setEncoding('utf8').on('data', (text: string) => {
      const parts = (rest + text).split('\0');
      rest = parts.pop() ?? '';
      for (const part of parts) this.#hear(JSON.parse(part) as Message);
    });
    // A browser that has gone is told by what waits for it.
    (child.stdio[3] as Writable).on('error', () => undefined);
    child.once('exit', () => {
      running.delete(child);
      for (const { fail } of this.#waiting.values()) fail(new Error('the browser has ended'));
    });
  }

  static async start(): Promise<Browser> {
    if (chromiumBinary === undefined) throw new Error('no Chromium on this machine');
    const profile = await mkdtemp(join(tmpdir(), 'fairlead-chromium-'));
    const options = [
      '--headless=new',
      '--remote-debugging-pipe',
      `--user-data-dir=${profile}`,
      // Tests run as root in containers, on pages of our own.
      '--no-sandbox',
      '--disable-gpu',
      '--disable-dev-shm-usage',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      '--host-resolver-rules=MAP evil.example 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost',
      'about:blank',
    ];
    const child = spawn(chromiumBinary, options, { stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'] });
    running.add(child);
    return new Browser(child, profile);
  }

  async open(url: string, look: { width?: number; height?: number; dark?: boolean } = {}): Promise<Page> {
    const { targetId } = await this.send('Target.createTarget', { url: 'about:blank' });
    const { sessionId } = await this.send('Target.attachToTarget', { targetId, flatten: true });
    const page = new Page(this, sessionId as unknown as string);
    this.#pages.set(sessionId as unknown as string, page);
    for (const domain of ['Page', 'Runtime', 'Log', 'Network']) await page.send(`${domain}.enable`);
    const { width = 1400, height = 1000, dark = false } = look;
    await page.send('Emulation.setDeviceMetricsOverride', { width, height, deviceScaleFactor: 1, mobile: false });
    const features = [{ name: 'prefers-color-scheme', value: dark ? 'dark' : 'light' }];
    await page.send('Emulation.setEmulatedMedia', { features });
    await page.send('Page.navigate', { url });
    return page;
  }

  send(method: string, params: object = {}, sessionId?: string): Promise<Record<string, never>> {
    const id = ++this.#last;
    (this.#child.stdio[3] as Writable).write(`${JSON.stringify({ id, method, params, sessionId })}\0`);
    return new Promise((done, fail) => this.#waiting.set(id, { done, fail }));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      const gone = once(this.#child, 'exit');
      this.#child.kill('SIGTERM');
      const slow = setTimeout(() => this.#child.kill('SIGKILL'), 3000);
      await gone;
      clearTimeout(slow);
    }
    await rm(this.#profile, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
  }

  #hear(message: Message): void {
    if (message.id === undefined) {
      this.#pages.get(message.sessionId ?? '')?.hear(message.method ?? '', message.params ?? {});
      return;
    }
    const waiting = this.#waiting.get(message.id);
    this.#waiting.delete(message.id);
    if (message.error) waiting?.fail(new Error(message.error.message));
    else waiting?.done(message.result ?? {});
  }
}

/** One tab. */
export class Page {
  /** What the browser complained of: exceptions, errors of the console, violations of the page's policy. */
  readonly complaints: string[] = [];
  /** Every address that was asked for. */
  readonly requests: string[] = [];
  readonly #browser: Browser;
  readonly #session: string;

  constructor(browser: Browser, session: string) {
    this.#browser = browser;
    this.#session = session;
  }

  send(method: string, params: object = {}): Promise<Record<string, never>> {
    return this.#browser.send(method, params, this.#session);
  }

  /** The value of an expression in the page, which may be a promise. */
  async evaluate<T>(expression: string): Promise<T> {
    const answer = (await this.send('Runtime.evaluate', {
      expression,
      awaitPromise: true,
      returnByValue: true,
    })) as { result?: { value?: unknown }; exceptionDetails?: { exception?: { description?: string } } };
    if (answer.exceptionDetails) throw new Error(answer.exceptionDetails.exception?.description ?? 'exception');
    return answer.result?.value as T;
  }

  /** Waits until the expression is true. */
  async until(expression: string, withinMs = 10_000): Promise<void> {
    try {
      await until(expression, () => this.evaluate<boolean>(`Boolean(${expression})`), withinMs);
    } catch (error) {
      const text = await this.evaluate<string>('document.body.innerText').catch(String);
      throw new Error(`not seen: ${expression}\n${this.complaints.join('\n')}\n${text.slice(0, 2000)}`, {
        cause: error,
      });
    }
  }

  /** What a reader sees of the first element that the selector matches. */
  text(selector: string): Promise<string> {
    return this.evaluate(`document.querySelector(${JSON.stringify(selector)})?.innerText ?? ''`);
  }

  async press(key: 'Enter' | 'Tab' | 'Escape' | ' '): Promise<void> {
    const codes = { Enter: 13, Tab: 9, Escape: 27, ' ': 32 };
    const text = key === 'Enter' ? '\r' : key === ' ' ? ' ' : undefined;
    const shared = { key, code: key === ' ' ? 'Space' : key, windowsVirtualKeyCode: codes[key] };
    await this.send('Input.dispatchKeyEvent', { type: text ? 'keyDown' : 'rawKeyDown', text, ...shared });
    await this.send('Input.dispatchKeyEvent', { type: 'keyUp', ...shared });
  }

  async type(text: string): Promise<void> {
    await this.send('Input.insertText', { text });
  }

  async screenshot(path: string): Promise<void> {
    const { data } = await this.send('Page.captureScreenshot', { format: 'png' });
    await writeFile(path, Buffer.from(data as unknown as string, 'base64'));
  }

  hear(method: string, params: Record<string, unknown>): void {
    if (method === 'Network.requestWillBeSent') this.requests.push((params['request'] as { url: string }).url);
    if (method === 'Runtime.exceptionThrown') this.complaints.push(JSON.stringify(params['exceptionDetails']));
    if (method === 'Runtime.consoleAPICalled' && params['type'] === 'error') {
      this.complaints.push(JSON.stringify(params['args']));
    }
    if (method === 'Log.entryAdded') {
      const { level, text } = params['entry'] as { level: string; text: string };
      if (level === 'error') this.complaints.push(text);
    }
  }
}
