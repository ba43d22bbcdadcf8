import { networkInterfaces } from 'node:os';
import { getHeapStatistics } from 'node:v8';
import { BreakerGate } from '../breaker/gate.ts';
import { AddressPolicy, type AddressPolicyOptions } from '../core/address.ts';
import type { Clock } from '../core/clock.ts';
import type { Random } from '../core/random.ts';
import { SocketBudget } from '../core/socket-budget.ts';
import type { Listener } from '../http1/listener.ts';
import { HostTable } from '../routing/hosts.ts';
import { AccessLog } from '../telemetry/access-log.ts';
import { LineSink } from '../telemetry/line-sink.ts';
import { NO_SERVICE } from '../telemetry/service-slots.ts';
import type { SinkFiles } from '../telemetry/sink-files.ts';
import { TrafficMeters } from '../telemetry/traffic.ts';
import type { Connect } from '../upstream/connect.ts';
import { Figures, OwnFigures } from '../upstream/figures.ts';
import { ownThreadId } from './cpu-time.ts';
import { DataPlane } from './data-plane.ts';
import type { FromThread, Listening, ThreadSettings, ThreadSetup, ToThread } from './messages.ts';
import { Outbox } from './outbox.ts';
import { Replica } from './replica.ts';
import { RequestCount } from './request-count.ts';
import { Routes } from './routes.ts';
import { ThreadStatus } from './status.ts';

export interface DataThreadOptions {
  readonly setup: ThreadSetup;
  readonly send: (message: FromThread) => void;
  readonly clock: Clock;
  readonly random: Random;
  /** In place of sockets: for simulations. */
  readonly connect?: Connect;
}

/** How often the thread says that it is alive and what it has open, and looks at what the others have. */
const BEAT_MS = 50;
const LINES_MS = 100;
const MIB = 2 ** 20;
const LINES_BYTES = 32_768;
const LINES_BLOCKS = 32;

/** All of a data-plane thread but the thread itself: told what to do by messages, and telling what it finds out. */
export class DataThread {
  readonly #send: (message: FromThread) => void;
  readonly #clock: Clock;
  readonly #setup: ThreadSetup;
  readonly #status: ThreadStatus;
  readonly #requests: RequestCount;
  readonly #replica: Replica;
  readonly dataPlane: DataPlane;
  readonly #addresses: AddressPolicy;
  readonly #outbox: Outbox;
  readonly #listeners = new Map<number, Listener>();
  #lines: LineSink | undefined;
  #cancelBeat: () => void;

  constructor({ setup, send, clock, random, connect }: DataThreadOptions) {
    this.#send = send;
    this.#clock = clock;
    this.#setup = setup;
    this.#status = new ThreadStatus(setup.threads, setup.status);
    const { settings } = setup;
    this.#requests = new RequestCount(this.#status, setup.number, settings.gateway.limits.requests);
    this.#outbox = new Outbox(send);
    const figures = new Figures(setup.figures, new OwnFigures(setup.own));
    const meters = new TrafficMeters(setup.meters);
    this.#addresses = new AddressPolicy(rulesOf(settings));
    this.#replica = new Replica({
      figures,
      gate: new BreakerGate(figures.breakers, clock, setup.number + 1, this.#outbox.breakers),
      random,
      hosts: new HostTable(settings.hosts, settings.gateway.domain),
      onFreed: (slot) => {
        this.dataPlane.pool.drop(slot);
      },
      onDropped: (service) => {
        routes.forget(service);
      },
    });
    const routes = new Routes({ replica: this.#replica, meters, clock, threads: setup.threads });
    this.dataPlane = new DataPlane({
      config: settings.gateway,
      clock,
      random,
      fleet: this.#replica,
      figures,
      router: routes,
      strayMeters: meters.row(NO_SERVICE),
      addresses: this.#addresses,
      sockets: new SocketBudget({ ...setup.sockets, row: setup.number + 1 }),
      accessLog: this.#openLog(settings),
      requests: this.#requests,
      reusePort: setup.reusePort,
      connect,
      onRefused: (reason) => {
        this.#outbox.refused(reason);
      },
      onAcceptError: (code) => {
        send({ type: 'acceptFailed', code });
      },
      onHanging: ({ slot }, cause) => {
        send({ type: 'suspect', slot, cause, unreachable: false });
      },
      onRefusing: ({ slot }, cause) => {
        send({ type: 'suspect', slot, cause, unreachable: true });
      },
    });
    this.#status.set(setup.number, 'threadId', ownThreadId());
    this.#cancelBeat = this.#beatLater();
  }

  receive(message: ToThread): void {
    switch (message.type) {
      case 'update':
        this.#replica.apply(message.update);
        this.#send({ type: 'applied', through: message.update.through });
        break;
      case 'settings':
        this.#reconfigure(message.settings);
        break;
      case 'moveOff':
        this.dataPlane.proxy.moveOff(message);
        break;
      case 'listen':
        this.#answer(message.request, this.#listen(message));
        break;
      case 'stopListening':
        this.#answer(message.request, nothing(this.#stopListening(message.listener)));
        break;
      case 'ease':
        this.#answer(message.request, nothing(this.dataPlane.proxy.ease()));
        break;
      case 'drain':
        this.#answer(message.request, nothing(this.dataPlane.proxy.drain()));
        break;
      case 'close':
        this.#answer(message.request, nothing(this.close()));
        break;
    }
    this.#report();
  }

  /** Cuts what is open, and hands on the last lines of the log. */
  async close(): Promise<void> {
    this.#cancelBeat();
    this.dataPlane.close();
    this.#outbox.flush();
    await this.#lines?.close(LINES_MS);
  }

  async #listen({ request, listener, host, port, fd }: Extract<ToThread, { type: 'listen' }>): Promise<Listening> {
    this.#status.set(this.#setup.number, 'taken', request);
    const opened = await this.dataPlane.proxy.listen(host, port, fd);
    this.#listeners.set(listener, opened);
    return { host: opened.host, port: opened.port, fd: opened.fd };
  }

  async #stopListening(number: number): Promise<void> {
    const listener = this.#listeners.get(number);
    this.#listeners.delete(number);
    if (listener) await this.dataPlane.proxy.stopListening(listener);
  }

  #answer(request: number, work: Promise<Listening | undefined>): void {
    work.then(
      (result) => {
        this.#report();
        this.#send({ type: 'done', request, result });
      },
      (error: unknown) => {
        this.#send({ type: 'failed', request, message: error instanceof Error ? error.message : String(error) });
      },
    );
  }

  #reconfigure(settings: ThreadSettings): void {
    this.#addresses.configure(rulesOf(settings));
    this.#replica.services.replace(new HostTable(settings.hosts, settings.gateway.domain));
    this.#requests.atMost = settings.gateway.limits.requests;
    this.dataPlane.reconfigure(settings.gateway);
    if (settings.accessLog === (this.#lines !== undefined)) return;
    void this.#lines?.close(LINES_MS);
    this.#lines = undefined;
    this.dataPlane.logTo(this.#openLog(settings));
  }

  /** The control thread has the file: lines of several threads must not run into each other. */
  #openLog({ accessLog }: ThreadSettings): AccessLog | undefined {
    if (!accessLog) return undefined;
    this.#lines = new LineSink({
      clock: this.#clock,
      files: linesTo(this.#send),
      flushMs: LINES_MS,
      blockBytes: LINES_BYTES,
      maxBlocks: LINES_BLOCKS,
    });
    return new AccessLog(this.#lines);
  }

  #beatLater(): () => void {
    const dueMs = this.#clock.now() + BEAT_MS;
    return this.#clock.after(BEAT_MS, () => {
      this.dataPlane.timerLate(this.#clock.now() - dueMs);
      this.#status.beat(this.#setup.number);
      this.#weigh();
      this.#report();
      this.#outbox.flush();
      this.#cancelBeat = this.#beatLater();
    });
  }

  #weigh(): void {
    const { used_heap_size: heap, external_memory: buffers } = getHeapStatistics();
    this.#status.set(this.#setup.number, 'heapMb', Math.round(heap / MIB));
    this.#status.set(this.#setup.number, 'memoryMb', Math.round((heap + buffers) / MIB));
  }

  #report(): void {
    const { proxy, pool } = this.dataPlane;
    const { number } = this.#setup;
    const status = this.#status;
    status.set(number, 'connections', proxy.connections);
    status.set(number, 'idleUpstream', pool.idleCount);
    this.#requests.sample();
  }
}

function rulesOf({ gateway, ownListeners }: ThreadSettings): AddressPolicyOptions {
  return {
    ...gateway.upstreamAddresses,
    ownListeners,
    localAddresses: () =>
      Object.values(networkInterfaces()).flatMap((each) => (each ?? []).map(({ address }) => address)),
  };
}

async function nothing(work: Promise<unknown>): Promise<undefined> {
  await work;
  return undefined;
}

/** Hands blocks of lines to the control thread. */
function linesTo(send: (message: FromThread) => void): SinkFiles {
  return {
    open: () => ({
      write(bytes, offset, length, done) {
        send({ type: 'lines', lines: new Uint8Array(bytes.subarray(offset, offset + length)) });
        setImmediate(() => {
          done(null, length);
        });
      },
      close: () => undefined,
    }),
  };
}
