import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { accessSync, constants } from 'node:fs';

const RELAY = new URL('netns-link.py', import.meta.url).pathname;

let made = 0;

/** Why there can be no network namespaces here; undefined where there can. Root must be able to make them. */
export function whyNoNamespaces(): string | undefined {
  if (process.platform !== 'linux') return 'network namespaces are Linux’s';
  return process.getuid?.() === 0 ? undefined : 'network namespaces want root';
}

/** Why there can be no lossy line; undefined where there can. */
export function whyNoLossyLine(): string | undefined {
  const why = whyNoNamespaces();
  if (why !== undefined) return why;
  try {
    accessSync('/dev/net/tun', constants.R_OK | constants.W_OK);
    return undefined;
  } catch {
    return '/dev/net/tun is missing';
  }
}

/**
 * A host of its own on this machine: a network namespace, and a line to it whose far end has `address`. What runs in it
 * is started through `through`.
 */
export class Host {
  readonly address: string;
  readonly through: readonly string[];
  readonly #namespace: string;
  readonly #near: string;
  readonly #far: string;
  readonly #relay: ChildProcess | undefined;

  private constructor(namespace: string, relay: ChildProcess | undefined, address: string) {
    this.#namespace = namespace;
    this.#near = `${namespace}n`;
    this.#far = `${namespace}f`;
    this.#relay = relay;
    this.address = address;
    this.through = ['ip', 'netns', 'exec', namespace];
  }

  /** `lossy`: the line can be made slow and lossy (`impair`); otherwise it is a pair of virtual Ethernet interfaces. */
  static async create({ lossy = false }: { readonly lossy?: boolean } = {}): Promise<Host> {
    made++;
    const namespace = `fl${process.pid}x${made}`;
    // Other test processes make hosts too: the addresses tell whose they are.
    const subnet = `10.${200 + ((process.pid >> 8) & 31)}.${process.pid & 255}`;
    const ends = [`${subnet}.${4 * made + 1}`, `${subnet}.${4 * made + 2}`] as const;
    ip('netns', 'add', namespace);
    const [near, far] = [`${namespace}n`, `${namespace}f`];
    let relay: ChildProcess | undefined;
    try {
      if (lossy) {
        relay = spawn('python3', [RELAY, near, far, String(made)], { stdio: ['pipe', 'pipe', 'inherit'] });
        await Promise.race([once(relay.stdout!, 'data'), endOf(relay)]);
        ip('link', 'set', far, 'netns', namespace);
      } else {
        ip('link', 'add', near, 'type', 'veth', 'peer', 'name', far, 'netns', namespace);
      }
      const host = new Host(namespace, relay, ends[1]);
      host.#configure(ends);
      return host;
    } catch (error) {
      relay?.kill();
      ip('netns', 'del', namespace);
      throw error;
    }
  }

  #configure([near, far]: readonly [string, string]): void {
    ip('addr', 'add', near, 'peer', far, 'dev', this.#near);
    ip('link', 'set', this.#near, 'up');
    ip('-n', this.#namespace, 'addr', 'add', far, 'peer', near, 'dev', this.#far);
    ip('-n', this.#namespace, 'link', 'set', this.#far, 'up');
    ip('-n', this.#namespace, 'link', 'set', 'lo', 'up');
  }

  /** From now on every packet either way is dropped, and nobody is told: no RST, no FIN, no ICMP. */
  blackHole(): void {
    tc('qdisc', 'replace', 'dev', this.#near, 'root', 'blackhole');
    tc('-n', this.#namespace, 'qdisc', 'replace', 'dev', this.#far, 'root', 'blackhole');
  }

  heal(): void {
    tc('qdisc', 'del', 'dev', this.#near, 'root');
    tc('-n', this.#namespace, 'qdisc', 'del', 'dev', this.#far, 'root');
  }

  /** Each way each packet is lost with probability `loss`, or comes `delayMs` ± `jitterMs` later. Lossy lines only. */
  impair({
    delayMs,
    jitterMs,
    loss,
  }: {
    readonly delayMs: number;
    readonly jitterMs: number;
    readonly loss: number;
  }): void {
    this.#relay?.stdin?.write(`${delayMs} ${jitterMs} ${loss}\n`);
  }

  /** After what runs in it has ended. */
  async remove(): Promise<void> {
    if (this.#relay) {
      const gone = once(this.#relay, 'exit');
      this.#relay.stdin?.end();
      await gone;
    }
    ip('netns', 'del', this.#namespace);
  }
}

async function endOf(relay: ChildProcess): Promise<never> {
  const [code] = (await once(relay, 'exit')) as [number | null];
  throw new Error(`the line ended with ${code}`);
}

function ip(...args: readonly string[]): void {
  execFileSync('ip', args, { stdio: ['ignore', 'ignore', 'pipe'] });
}

function tc(...args: readonly string[]): void {
  execFileSync('tc', args, { stdio: ['ignore', 'ignore', 'pipe'] });
}
