import type { Hono } from 'hono';
import type { AdminConfig, Config, HostPort } from '../config/config.ts';
import type { Clock } from '../core/clock.ts';
import { atOnce, type PreparedChange, type Reloadable } from './reload.ts';
import { same } from './same-config.ts';
import { type ServedApp, serveApp } from './serve-app.ts';
import type { InheritedSockets, NamedSocket } from './sockets.ts';

export const ADMIN_SETTING = 'admin.listen';
/** The very request that asked for a reload is answered on the listener that the reload closes. */
const GRACE_MS = 5000;

/** The admin API's listener. */
export class AdminListener implements Reloadable {
  readonly #clock: Clock;
  readonly #createApp: (config: AdminConfig) => Hono;
  #configured: HostPort | undefined;
  #served: ServedApp | undefined;

  constructor(clock: Clock, createApp: (config: AdminConfig) => Hono) {
    this.#clock = clock;
    this.#createApp = createApp;
  }

  get address(): HostPort | undefined {
    return this.#served && { host: this.#served.host, port: this.#served.port };
  }

  get sockets(): readonly NamedSocket[] {
    const fd = this.#served?.fd;
    return fd === undefined || !this.#configured ? [] : [{ setting: ADMIN_SETTING, ...this.#configured, fd }];
  }

  /** Rejects, naming the setting, where it cannot be listened on. */
  async open(config: AdminConfig, inherited: InheritedSockets): Promise<void> {
    this.#served = await this.#serve(config, inherited.take(ADMIN_SETTING, config.listen));
    this.#configured = config.listen;
  }

  async prepare({ admin: next }: Config, { admin: before }: Config): Promise<PreparedChange> {
    if (same(next, before)) return atOnce(() => []);
    if (same(next.listen, before.listen)) {
      return atOnce(() => {
        this.#served?.replace(this.#createApp(next));
        return ['admin.token changed'];
      });
    }
    const opened = await this.#serve(next);
    return {
      commit: () => {
        const closed = this.#served;
        this.#served = opened;
        this.#configured = next.listen;
        void closed?.close(GRACE_MS);
        return [`admin.listen is ${opened.host}:${opened.port}`];
      },
      abandon: () => opened.close(),
    };
  }

  /** Another process has the listener. What is asked on connections that are open here is passed on to it. */
  handOn(): void {
    void this.#served?.handOn(0);
  }

  /** What is being answered may end within `graceMs`. */
  async close(graceMs = 0): Promise<void> {
    await this.#served?.close(graceMs);
  }

  #serve(config: AdminConfig, fd?: number): Promise<ServedApp> {
    return serveApp(this.#createApp(config), { ...config.listen, fd, setting: ADMIN_SETTING, clock: this.#clock });
  }
}
