import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import { serveApp, type ServedApp } from '../../src/gateway/serve-app.ts';
import { POLICY } from '../policy.ts';
import { Browser, chromiumBinary, type Page } from '../servers/chromium.ts';
import { until } from '../servers/real-server.ts';
import { AdminFixture, type Settings } from './fixture.ts';

const HOSTILE = '<img src=x onerror=alert(1)>"\'&\u202egnp.exe';

/** The dashboard of a fleet, on a listener of its own, in a real browser. */
class Shown implements AsyncDisposable {
  readonly it: AdminFixture;
  served!: ServedApp;

  constructor(settings: Settings = {}) {
    this.it = new AdminFixture(settings);
  }

  async serve(port = 0): Promise<this> {
    this.served = await serveApp(this.it.app, { host: '127.0.0.1', port, setting: 'admin.listen', clock: systemClock });
    return this;
  }

  get origin(): string {
    return `http://127.0.0.1:${this.served.port}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.served.close();
  }
}

describe.skipIf(chromiumBinary === undefined)('the dashboard in a browser', () => {
  let browser: Browser;
  beforeAll(async () => {
    browser = await Browser.start();
  });
  afterAll(() => browser[Symbol.asyncDispose]());

  /** Nothing was asked for elsewhere, and the browser found nothing to complain of. */
  const expectPeace = (page: Page, origin: string): void => {
    expect(page.complaints).toEqual([]);
    expect(page.requests.filter((url) => !url.startsWith(origin) && url !== 'about:blank')).toEqual([]);
  };

  test('shows the worst first, with rates, and why each instance takes no traffic', async () => {
    await using shown = await new Shown().serve();
    const { it } = shown;
    it.add('a-1', { service: 'fine' });
    it.add('i-1');
    it.fail(it.add('i-2'), 'connection refused');
    const meters = it.metrics.service('web');
    const page = await browser.open(shown.origin);
    await page.until("document.querySelectorAll('#services-rows tr').length === 2");
    for (let at = 0; at < 200; at++) meters.request(0, at < 20 ? 503 : 200, 4, 0.1);
    it.clock.advance(2000);
    await page.until("document.querySelector('#services-rows tr').innerText.includes('10.0 %')");
    const cells = (await page.text('#services-rows tr')).split(/\s*\t\s*/);
    expect(cells).toEqual(['web', 'partial', '1 / 2', '100', '10.0 %', '4.97 ms', '0', '1 available, 1 failing']);
    await page.evaluate("document.querySelector('#services-rows a').click()");
    await page.until("document.querySelector('#service tbody')");
    expect(await page.text('#service-conclusion')).toContain('i-2 does not: probe failing, connection refused');
    // Those without traffic first; unfolded, gate by gate.
    await page.evaluate("document.querySelector('#service tbody .toggle').click()");
    expect(await page.text('#service tbody .gates')).toMatch(/stop\s+probe\s+failing, connection refused/);
    // What is unfolded stays so, and has the focus still, after the next look.
    await page.evaluate("document.querySelector('#service tbody .toggle').focus()");
    it.break(it.fleet.find('web', 'i-1')!);
    await page.until("document.querySelector('#service-conclusion').innerText.includes('PANIC')");
    // i-1 comes first now: it is i-2, whose probes have no say any more, that has been moved.
    expect(await page.text('#service tbody .toggle')).toBe('i-1');
    expect(await page.text('#service tbody:last-of-type .gates')).toMatch(/overruled\s+probe\s+failing, connection/);
    expect(await page.evaluate('document.activeElement.innerText')).toBe('i-2');
    await page.until("document.querySelector('#events-rows').innerText.includes('closed → open')");
    expectPeace(page, shown.origin);
  });

  test('shows hostile words as words', async () => {
    await using shown = await new Shown().serve();
    const { it } = shown;
    it.fail(it.add(HOSTILE, { zone: HOSTILE, version: HOSTILE, service: HOSTILE }), HOSTILE);
    it.timeline.add({ kind: 'config', to: 'refused', cause: HOSTILE, evidence: HOSTILE });
    const page = await browser.open(shown.origin);
    await page.until("document.querySelector('#services-rows a')");
    const words = '<img src=x onerror=alert(1)>"\'&\\u{202e}gnp.exe';
    expect(await page.text('#services-rows th')).toBe(words);
    expect(await page.text('#problems')).toContain(words);
    await page.evaluate("document.querySelector('#services-rows a').click()");
    await page.until("document.querySelector('#service tbody .toggle')");
    await page.evaluate("document.querySelector('#service tbody .toggle').click()");
    expect(await page.text('#service tbody .gates')).toContain(words);
    expect(await page.text('#service-title')).toBe(words);
    expect(await page.evaluate("document.querySelectorAll('main img, main script, main iframe').length")).toBe(0);
    expectPeace(page, shown.origin);
  });

  test('drains and undrains by keyboard alone, after a question that can be declined', async () => {
    await using shown = await new Shown().serve();
    const { it } = shown;
    it.add('i-1');
    it.add('i-2');
    const drained = (): boolean => it.fleet.find('web', 'i-1')!.health.drained;
    const page = await browser.open(`${shown.origin}/#/service/web`);
    await page.until('document.querySelector(\'[aria-label="Drain i-1"]\')');
    await page.evaluate('document.querySelector(\'[aria-label="Drain i-1"]\').focus()');
    await page.press('Enter');
    await page.until("document.querySelector('#confirm').open");
    expect(await page.evaluate('document.activeElement.id')).toBe('confirm-no');
    await page.press('Escape');
    await page.until("!document.querySelector('#confirm').open");
    expect(drained()).toBe(false);
    await page.press('Enter');
    await page.until("document.querySelector('#confirm').open");
    await page.press('Tab');
    await page.press('Enter');
    await page.until("document.querySelector('#said').innerText === 'i-1 of web is drained.'");
    expect(drained()).toBe(true);
    await page.until('document.querySelector(\'[aria-label="Undrain i-1"]\')');
    await page.evaluate('document.querySelector(\'[aria-label="Undrain i-1"]\').click()');
    await page.evaluate("document.querySelector('#confirm-yes').click()");
    await page.until("document.querySelector('#said').innerText === 'i-1 of web is undrained.'");
    expect(drained()).toBe(false);
    expectPeace(page, shown.origin);
  });

  test('says since when it is stale, and goes on with a gateway that has been started anew', async () => {
    await using shown = await new Shown().serve();
    shown.it.add('i-old');
    const page = await browser.open(shown.origin);
    await page.until("document.querySelector('#events-rows').innerText.includes('passing')");
    const { port } = shown.served;
    await shown.served.close();
    await page.until("document.body.classList.contains('stale')");
    expect(await page.text('[role=alert]')).toMatch(/STALE since \d\d:\d\d:\d\d: no connection/);
    expect(await page.text('#services-rows')).toContain('web');
    await using anew = new Shown();
    anew.it.clock.advance(60_000);
    // Of another start, and with sequence numbers from the beginning.
    Object.assign(anew.it.deps.metrics, { vitals: () => ({ ...anew.it.metrics.vitals(), startedWallMs: 1 }) });
    anew.it.add('i-new');
    anew.it.timeline.add({ kind: 'probe', service: 'web', instance: 'i-new', to: 'passing', cause: 'of the new one' });
    await anew.serve(port);
    await page.until("!document.body.classList.contains('stale')");
    await page.until("document.querySelector('#events-rows').innerText.includes('of the new one')");
    expect(await page.text('#events-rows')).not.toContain('i-old');
  });

  test('asks for the token, keeps it for the tab alone, and forgets it', async () => {
    await using shown = await new Shown({ token: 'Zm9vYmFy' }).serve();
    shown.it.add('i-1');
    const page = await browser.open(shown.origin);
    await page.until("!document.querySelector('#login').hidden");
    expect(await page.evaluate('document.activeElement.id')).toBe('token');
    await page.type('wrong');
    await page.press('Enter');
    await page.until("document.querySelector('#login-why').innerText === 'Wrong token.'");
    await page.type('Zm9vYmFy');
    await page.press('Enter');
    await page.until("document.querySelector('#services-rows tr')");
    expect(
      await page.evaluate("[localStorage.length, document.cookie, document.querySelector('#token').value]"),
    ).toEqual([0, '', '']);
    expect(page.requests.filter((url) => url.includes('Zm9v'))).toEqual([]);
    await page.evaluate("document.querySelector('#forget').click()");
    await page.until("!document.querySelector('#login').hidden && document.querySelector('#page').hidden");
    expect(await page.evaluate('sessionStorage.length')).toBe(0);
  });

  test('10,000 services cost a page of them', async () => {
    await using shown = await new Shown().serve();
    const { it } = shown;
    for (let at = 0; at < 10_000; at++) it.fleet.configure(`service-${String(at).padStart(5, '0')}`, POLICY);
    it.add('i-1', { service: 'service-07777' });
    const page = await browser.open(shown.origin);
    await page.until("document.querySelectorAll('#services-rows tr').length === 50");
    expect(await page.text('#services-pager')).toContain('1–50 of 10,000');
    await page.evaluate("document.querySelectorAll('#services-pager button')[1].click()");
    await page.until("document.querySelector('#services-pager').innerText.includes('51–100 of 10,000')");
    await page.evaluate("document.querySelector('#services-part').focus()");
    await page.type('7777');
    await page.until("document.querySelectorAll('#services-rows tr').length === 1");
    expect(await page.text('#services-rows')).toContain('service-07777');
    await page.evaluate("document.querySelector('.condition.empty').click()");
    await page.until("!document.querySelector('#services-none').hidden");
    expect(await page.evaluate('document.querySelectorAll("*").length')).toBeLessThan(1000);
    const answer = await it.get('/api/services?traffic&order=condition&limit=50');
    expect((await answer.text()).length).toBeLessThan(50_000);
    expectPeace(page, shown.origin);
  });

  test.each([false, true])(
    'can be read: contrast of at least 4.5, dark %s; everything that can be used has a name',
    async (dark) => {
      await using shown = await new Shown().serve();
      const { it } = shown;
      it.add('i-1');
      it.fail(it.add('i-2'), 'connection refused');
      it.fleet.configure('empty', POLICY);
      it.add('a-1', { service: 'fine' });
      it.timeline.add({ kind: 'config', to: 'refused', cause: 'a mistake' });
      for (const part of ['', '#/service/web']) {
        const page = await browser.open(`${shown.origin}/${part}`, { dark });
        await page.until("document.querySelector('#services-rows tr, #service tbody')");
        await page.evaluate("document.querySelectorAll('.toggle').forEach((toggle) => toggle.click())");
        expect(await page.evaluate(`(${weakContrasts.toString()})()`)).toEqual([]);
        const { nodes } = (await page.send('Accessibility.getFullAXTree')) as unknown as {
          nodes: { ignored: boolean; role?: { value: string }; name?: { value: string } }[];
        };
        const usable = nodes.filter(({ ignored, role }) => !ignored && USABLE.has(role?.value ?? ''));
        expect(usable.length).toBeGreaterThan(5);
        expect(usable.filter(({ name }) => (name?.value ?? '') === '').map(({ role }) => role?.value)).toEqual([]);
      }
    },
  );

  test('a page of another origin drains nothing, reads nothing and frames nothing', async () => {
    await using shown = await new Shown().serve();
    const { it } = shown;
    it.add('i-1');
    const drain = `${shown.origin}/api/services/web/instances/i-1/drain`;
    const evil = createServer((_request, response) => {
      response.setHeader('content-type', 'text/html');
      response.end(`<form id="form" method="post" action="${drain}" target="there"><input name="a" value="b"></form>
        <iframe name="there"></iframe><iframe id="frame" src="${shown.origin}/"></iframe>`);
    });
    evil.listen(0, '127.0.0.1');
    await once(evil, 'listening');
    const { port } = evil.address() as AddressInfo;
    const page = await browser.open(`http://127.0.0.1:${port}/`);
    await page.until("document.querySelector('#form')");
    await page.evaluate("document.querySelector('#form').submit()");
    for (const options of ["{ method: 'POST' }", "{ method: 'POST', mode: 'no-cors', body: 'a=b' }"]) {
      await page.evaluate(`fetch('${drain}', ${options}).then(() => 0, () => 0)`);
    }
    expect(await page.evaluate(`fetch('${shown.origin}/api/services').then((r) => r.status, () => 'refused')`)).toBe(
      'refused',
    );
    await until('the frame is refused', () =>
      page.complaints.some((text) => /frame-ancestors|Refused to (frame|display)/.test(text)),
    );
    expect(page.requests.filter((url) => url === drain).length).toBeGreaterThanOrEqual(3);
    expect(it.fleet.find('web', 'i-1')!.health.drained).toBe(false);
    evil.close();
  });

  test('a page that has had its name rebound to this address drains nothing and reads nothing', async () => {
    await using shown = await new Shown().serve();
    shown.it.add('i-1');
    const page = await browser.open(`http://evil.example:${shown.served.port}/healthz`);
    await page.until("document.body.innerText.includes('alive')");
    const status = (path: string, method: string): Promise<number> =>
      page.evaluate(`fetch('${path}', { method: '${method}' }).then((r) => r.status)`);
    for (const path of ['/', '/metrics', '/api/services', '/api/overview']) expect(await status(path, 'GET')).toBe(403);
    expect(await status('/api/services/web/instances/i-1/drain', 'POST')).toBe(403);
    expect(shown.it.fleet.find('web', 'i-1')!.health.drained).toBe(false);
  });
});

const USABLE = new Set(['button', 'link', 'textbox', 'searchbox', 'combobox', 'table', 'DisclosureTriangle']);

/** Runs in the page: every text that is shown and has too little contrast with what is behind it (WCAG 2.2, 1.4.3). */
function weakContrasts(): string[] {
  const page = globalThis as unknown as {
    document: {
      body: unknown;
      createTreeWalker(
        root: unknown,
        what: number,
      ): { nextNode(): { textContent: string; parentElement: Shape } | null };
    };
    getComputedStyle(element: Shape): { color: string; backgroundColor: string };
    NodeFilter: { SHOW_TEXT: number };
  };
  interface Shape {
    parentElement: Shape | null;
    checkVisibility(): boolean;
  }
  const numbers = (color: string): number[] => (color.match(/[\d.]+/g) ?? []).map(Number);
  const luminance = (color: string): number =>
    numbers(color)
      .slice(0, 3)
      .map((value) => (value <= 10 ? value / 3294.6 : ((value / 255 + 0.055) / 1.055) ** 2.4))
      .reduce((sum, value, at) => sum + value * [0.2126, 0.7152, 0.0722][at]!, 0);
  const behind = (element: Shape | null): string => {
    for (let at = element; at; at = at.parentElement) {
      const { backgroundColor } = page.getComputedStyle(at);
      if (numbers(backgroundColor)[3] !== 0) return backgroundColor;
    }
    return 'rgb(255, 255, 255)';
  };
  const weak: string[] = [];
  const walker = page.document.createTreeWalker(page.document.body, page.NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const { parentElement, textContent } = node;
    if (textContent.trim() === '' || !parentElement.checkVisibility()) continue;
    const [light, dark] = [page.getComputedStyle(parentElement).color, behind(parentElement)]
      .map(luminance)
      .sort((a, b) => b - a);
    const ratio = (light! + 0.05) / (dark! + 0.05);
    if (ratio < 4.5) weak.push(`${ratio.toFixed(2)} ${textContent.trim().slice(0, 40)}`);
  }
  return weak;
}
