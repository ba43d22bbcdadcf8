import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { AdminFixture } from './fixture.ts';

const FOLDER = new URL('../../src/admin/dashboard/', import.meta.url);
const files = readdirSync(FOLDER).filter((name) => name !== 'tsconfig.json');
const read = (name: string): string => readFileSync(new URL(name, FOLDER), 'utf8');
const HTML = { headers: { accept: 'text/html,application/xhtml+xml' } };

describe('the files of the dashboard', () => {
  test.each(files)('%s is served, as it is, with the policy, to everyone', async (name) => {
    const it = new AdminFixture({ token: 'secret' });
    const response = await it.get(name === 'index.html' ? '/' : `/dashboard/${name}`, HTML);
    expect([response.status, await response.text()]).toEqual([200, read(name)]);
    const { headers } = response;
    expect(headers.get('content-security-policy')).toMatch(
      /^default-src 'none'; .*frame-ancestors 'none'.*trusted-types/,
    );
    expect(headers.get('content-security-policy')).not.toMatch(/unsafe|https?:|\*/);
    expect(headers.get('x-content-type-options')).toBe('nosniff');
    expect(headers.get('content-type')).toBe(
      { html: 'text/html; charset=utf-8', css: 'text/css; charset=utf-8', svg: 'image/svg+xml' }[
        name.slice(name.lastIndexOf('.') + 1)
      ] ?? 'text/javascript; charset=utf-8',
    );
  });

  test.each([
    'index.html',
    'tsconfig.json',
    '..%2fapp.ts',
    '%2e%2e%2fapp.ts',
    '..%5capp.ts',
    '',
    'main.js%00',
    'constructor',
  ])('there is no other: %s', async (name) => {
    expect((await new AdminFixture().get(`/dashboard/${name}`)).status).toBe(404);
  });

  test('who does not ask for HTML gets the list of calls, and has to have the token for it', async () => {
    const open = await new AdminFixture().get('/');
    expect([open.headers.get('vary'), await open.text()]).toEqual(['accept', expect.stringContaining('GET  /metrics')]);
    expect((await new AdminFixture({ token: 'secret' }).get('/')).status).toBe(401);
  });

  test('hold nothing that the policy forbids, and no way from text to markup', () => {
    for (const name of files) {
      const text = read(name);
      expect(text).not.toMatch(/innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|srcdoc/);
      expect(text.replaceAll('http://www.w3.org/2000/svg', '')).not.toMatch(/https?:\/\//);
    }
    const page = read('index.html');
    expect(page).not.toMatch(/\son[a-z]+=|\sstyle=|<style|javascript:/i);
    expect(page.match(/<script[^>]*>/g)).toEqual(['<script type="module" src="dashboard/main.js">']);
  });
});
