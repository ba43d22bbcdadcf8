import { existsSync } from 'node:fs';
import { Resolver } from 'node:dns/promises';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { findBinary, freePorts, RealServer } from './real-server.ts';

const OUT_OF_PATH = '/usr/sbin/dnsmasq';

/** Undefined where the machine has none: Debian's package is dnsmasq-base. */
export const dnsmasqBinary =
  findBinary(['dnsmasq'], '--version') ?? (existsSync(OUT_OF_PATH) ? OUT_OF_PATH : undefined);

/**
 * A real name server, in charge of `test.` and of nothing else. Addresses come from a file that is read again at every
 * SIGHUP; SRV records belong to its configuration, so that changing them takes a restart.
 */
export class Dnsmasq {
  readonly server: RealServer;
  readonly port: number;
  /** `_name._tcp.test,target,port,priority,weight` */
  srvHosts: readonly string[] = [];
  #hosts: readonly string[] = [];
  #hostsFile = '';

  private constructor(port: number) {
    this.port = port;
    this.server = new RealServer({
      name: 'dnsmasq',
      binary: dnsmasqBinary ?? '',
      prepare: (dataDir) => {
        this.#hostsFile = join(dataDir, 'hosts');
        return this.#writeHosts();
      },
      arguments: () => [
        '--keep-in-foreground',
        '--conf-file=/dev/null',
        '--pid-file=',
        '--no-resolv',
        '--no-hosts',
        '--local=/test/',
        '--bind-interfaces',
        '--listen-address=127.0.0.1',
        `--port=${port}`,
        `--addn-hosts=${this.#hostsFile}`,
        // It would give up root, and then not be able to read its file again.
        ...(process.getuid?.() === 0 ? ['--user=root'] : []),
        ...this.srvHosts.map((each) => `--srv-host=${each}`),
      ],
      ready: () => this.#answers('ready.test'),
    });
  }

  /** `hosts`: lines of `address name`. */
  static async start(hosts: readonly string[], srvHosts: readonly string[] = []): Promise<Dnsmasq> {
    if (dnsmasqBinary === undefined) throw new Error('no dnsmasq on this machine');
    const [port = 0] = await freePorts(1);
    const made = new Dnsmasq(port);
    made.srvHosts = srvHosts;
    made.#hosts = hosts;
    await made.server.start();
    return made;
  }

  /** Writes the file anew, and tells the server. */
  async setHosts(hosts: readonly string[]): Promise<void> {
    this.#hosts = hosts;
    await this.#writeHosts();
    if (this.server.pid !== undefined) process.kill(this.server.pid, 'SIGHUP');
  }

  async restart(srvHosts: readonly string[]): Promise<void> {
    await this.server.kill();
    this.srvHosts = srvHosts;
    await this.server.start();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.server[Symbol.asyncDispose]();
  }

  #writeHosts(): Promise<void> {
    return writeFile(this.#hostsFile, [...this.#hosts, '127.0.0.1 ready.test', ''].join('\n'));
  }

  async #answers(name: string): Promise<boolean> {
    const resolver = new Resolver({ timeout: 200, tries: 1 });
    resolver.setServers([`127.0.0.1:${this.port}`]);
    return (await resolver.resolve4(name)).length > 0;
  }
}
