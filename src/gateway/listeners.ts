import type { Config, HostPort } from '../config/config.ts';
import type { GivenSockets } from '../worker/place.ts';
import type { ThreadListener } from '../worker/threads.ts';
import type { PreparedChange, Reloadable } from './reload.ts';
import { compareAddresses, type InheritedSockets, type NamedSocket } from './sockets.ts';

/** What has data-plane listeners. */
export interface ListenerHost {
  /** `given`: sockets that listen there already. */
  listen(host: string, port: number, given?: GivenSockets): Promise<ThreadListener>;
}

interface Open {
  /** As configured: the port may be 0. */
  readonly configured: HostPort;
  readonly listener: ThreadListener;
  readonly held: boolean;
}

const SETTING = 'gateway.listen';

/** The listeners of the data plane. Those that a reload leaves in the configuration are not touched. */
export class Listeners implements Reloadable {
  readonly #host: ListenerHost;
  #open: Open[] = [];

  constructor(host: ListenerHost) {
    this.#host = host;
  }

  /** Where clients connect. */
  get addresses(): readonly HostPort[] {
    return this.#open.map(({ listener }) => ({ host: listener.host, port: listener.port }));
  }

  get sockets(): readonly NamedSocket[] {
    return this.#open.flatMap(({ configured, held, listener: { fds } }) =>
      fds.map((fd) => ({ setting: SETTING, ...configured, fd, held })),
    );
  }

  /**
   * What is new is opened first, then comes `ready`, and sockets that a predecessor empties as well come last: clients must
   * not be taken from there by a process that fails a moment later. Rejects, with nothing left open, where an address
   * cannot be listened on.
   */
  async open(addresses: readonly HostPort[], inherited: InheritedSockets, ready: () => Promise<void>): Promise<void> {
    const isInherited = (address: HostPort): boolean => inherited.has(SETTING, address);
    const shared = addresses.filter(isInherited);
    const opened = await this.#openAll(addresses.filter((address) => !isInherited(address)));
    try {
      await ready();
      opened.push(...(await this.#openAll(shared, inherited)));
    } catch (error) {
      for (const { listener } of opened) await listener.close();
      throw error;
    }
    this.#open = addresses.flatMap((address) => opened.filter(({ configured }) => configured === address));
  }

  async prepare(next: Config): Promise<PreparedChange> {
    const { kept, gone, added } = compareAddresses(this.#open, next.gateway.listen);
    const opened = await this.#openAll(added);
    const close = (which: readonly Open[]): Promise<unknown> =>
      Promise.all(which.map(({ listener }) => listener.close()));
    return {
      commit: async () => {
        this.#open = [...kept, ...opened];
        await close(gone);
        return [
          ...opened.map(({ listener }) => `gateway.listen: ${listener.host}:${listener.port} opened`),
          ...gone.map(({ listener }) => `gateway.listen: ${listener.host}:${listener.port} closed`),
        ];
      },
      abandon: async () => {
        await close(opened);
      },
    };
  }

  async #openAll(addresses: readonly HostPort[], inherited?: InheritedSockets): Promise<Open[]> {
    const opened: Open[] = [];
    try {
      for (const configured of addresses) {
        const { host, port } = configured;
        const given = inherited?.takeAll(SETTING, configured);
        opened.push({ configured, held: given?.held ?? false, listener: await this.#host.listen(host, port, given) });
      }
    } catch (error) {
      for (const { listener } of opened) await listener.close();
      const reason = error instanceof Error ? error.message : String(error);
      throw new Error(`${SETTING}: ${reason}`, { cause: error });
    }
    return opened;
  }
}
