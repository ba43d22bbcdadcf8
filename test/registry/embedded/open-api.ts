import { expect } from 'vitest';
import { AddressPolicy } from '../../../src/core/address.ts';
import { type RegistryAppDeps, createRegistryApp } from '../../../src/registry/embedded/api/app.ts';
import type { EmbeddedRegistryOptions } from '../../../src/registry/embedded/options.ts';
import { type Opened, openRegistry } from './fixture.ts';

export interface Answer {
  readonly status: number;
  readonly body: unknown;
  readonly headers: Headers;
}

export interface Api extends Opened {
  readonly call: (method: string, path: string, init?: RequestInit) => Promise<Answer>;
  /** POST /register with a JSON body. */
  readonly post: (body: unknown) => Promise<Answer>;
}

/** The API on a registry, without a server. */
export async function openApi(
  deps: Partial<RegistryAppDeps> = {},
  options: Partial<EmbeddedRegistryOptions> = {},
): Promise<Api> {
  const opened = await openRegistry(options);
  const { registry, clock, lines } = opened;
  const app = createRegistryApp({
    registry,
    clock,
    addresses: new AddressPolicy({ allowLoopback: true, ownListeners: [{ host: '127.0.0.1', port: 8761 }] }),
    random: () => 0.5,
    log: (level, message, fields) => {
      lines.push({ level, message, fields });
    },
    ...deps,
  });
  const call = async (method: string, path: string, init: RequestInit = {}): Promise<Answer> => {
    const response = await app.request(path, { method, ...init });
    const text = await response.text();
    const isJson = response.headers.get('content-type')?.includes('json') === true;
    return {
      status: response.status,
      headers: response.headers,
      body: text === '' || !isJson ? text || undefined : (JSON.parse(text) as unknown),
    };
  };
  const headers = { 'content-type': 'application/json' };
  const post = (body: unknown): Promise<Answer> =>
    call('POST', '/register', { headers, body: typeof body === 'string' ? body : JSON.stringify(body) });
  return { ...opened, call, post };
}

/** The least that can be registered. */
export const web = { serviceName: 'web', host: '10.0.0.1', port: 80 };
/** `field: message` of a problem. */
export const errors = (answer: Answer): string[] => {
  expect(answer.headers.get('content-type')).toBe('application/problem+json');
  const { errors: list = [], status } = answer.body as {
    errors?: { field: string; message: string }[];
    status: number;
  };
  expect(status).toBe(answer.status);
  return list.map(({ field, message }) => `${field}: ${message}`);
};
