import { createSocket, type RemoteInfo, type Socket as UdpSocket } from 'node:dgram';
import { once } from 'node:events';
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { decode, encode, AUTHORITATIVE_ANSWER, TRUNCATED_RESPONSE, type Answer, type Packet } from 'dns-packet';

export interface DnsAnswer {
  /** Default NOERROR. */
  readonly rcode?: number;
  readonly answers?: readonly Answer[];
  readonly additionals?: readonly Answer[];
  readonly authorities?: readonly Answer[];
  /** The TC bit, with the answers left out. */
  readonly truncated?: boolean;
}

export interface DnsAsk {
  readonly name: string;
  readonly type: string;
  readonly by: 'udp' | 'tcp';
  readonly edns: boolean;
  readonly id: number;
  readonly port: number;
}

export const SERVFAIL = 2;
export const NXDOMAIN = 3;
export const REFUSED = 5;

/** A name server on loopback, UDP and TCP at one port, that does what a script says. */
export class FakeDns {
  readonly asked: DnsAsk[] = [];
  /** The answer to a question; undefined = silence. By default what `zone` has. */
  onQuery: (ask: DnsAsk) => DnsAnswer | undefined | Promise<DnsAnswer | undefined> = (ask) => this.fromZone(ask);
  /** Last changes to the packet on its way out, as a forger or a broken server makes them; several = all are sent. */
  onSend: (packet: Buffer, ask: DnsAsk) => Buffer | readonly Buffer[] = (packet) => packet;
  /** Where `fromZone` looks. A name that is in it without records of a type is NODATA for that type. */
  readonly zone = new Map<string, Answer[]>();
  /** Negative answers carry an SOA with this minimum; undefined = none. */
  negativeTtlS: number | undefined = 1;
  #udp: UdpSocket | undefined;
  #tcp: Server | undefined;
  readonly #connections = new Set<Socket>();
  #port = 0;

  static async start(): Promise<FakeDns> {
    const made = new FakeDns();
    await made.listen();
    return made;
  }

  get server(): { readonly host: string; readonly port: number } {
    return { host: '127.0.0.1', port: this.#port };
  }

  /** At the port of before, where there was one. */
  async listen(): Promise<void> {
    for (let attempt = 1; ; attempt += 1) {
      const tcp = createServer((connection) => this.#accept(connection));
      tcp.listen(this.#port, '127.0.0.1');
      await once(tcp, 'listening');
      const { port } = tcp.address() as AddressInfo;
      const udp = createSocket('udp4');
      udp.on('message', (packet, from) => void this.#datagram(udp, packet, from));
      try {
        udp.bind(port, '127.0.0.1');
        await once(udp, 'listening');
      } catch (error) {
        // The port may be free for TCP and taken for UDP.
        tcp.close();
        if (attempt === 5) throw error;
        continue;
      }
      [this.#port, this.#udp, this.#tcp] = [port, udp, tcp];
      return;
    }
  }

  async stop(): Promise<void> {
    const [udp, tcp] = [this.#udp, this.#tcp];
    this.#udp = this.#tcp = undefined;
    for (const each of this.#connections) each.destroy();
    if (udp) await new Promise<void>((resolve) => udp.close(() => resolve()));
    if (tcp) await once(tcp.close(), 'close');
  }

  /** Stops answering by TCP alone. */
  async stopTcp(): Promise<void> {
    const tcp = this.#tcp;
    this.#tcp = undefined;
    if (tcp) await once(tcp.close(), 'close');
  }

  /** Adds records, each under its own name. */
  put(...records: readonly Answer[]): void {
    for (const each of records) {
      const key = each.name.toLowerCase();
      this.zone.set(key, [...(this.zone.get(key) ?? []), each]);
    }
  }

  /** The name stays, without anything. */
  clear(name: string): void {
    this.zone.set(name.toLowerCase(), []);
  }

  remove(name: string): void {
    this.zone.delete(name.toLowerCase());
  }

  fromZone({ name, type }: Pick<DnsAsk, 'name' | 'type'>): DnsAnswer {
    const records = this.zone.get(name.toLowerCase());
    const soa: Answer[] =
      this.negativeTtlS === undefined
        ? []
        : [
            {
              type: 'SOA',
              name: 'test',
              ttl: 3600,
              data: {
                mname: 'ns.test',
                rname: 'admin.test',
                serial: 1,
                refresh: 1,
                retry: 1,
                expire: 1,
                minimum: this.negativeTtlS,
              },
            },
          ];
    if (!records) return { rcode: NXDOMAIN, authorities: soa };
    const answers = records.filter((each) => each.type === type || each.type === 'CNAME');
    return answers.length > 0 ? { answers } : { authorities: soa };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  async #datagram(udp: UdpSocket, packet: Buffer, from: RemoteInfo): Promise<void> {
    for (const reply of await this.#answer(packet, 'udp', from.port)) {
      if (this.#udp === udp) udp.send(reply, from.port, from.address);
    }
  }

  #accept(connection: Socket): void {
    this.#connections.add(connection);
    connection.on('close', () => this.#connections.delete(connection));
    connection.on('error', () => connection.destroy());
    let held = Buffer.alloc(0);
    connection.on('data', (chunk) => {
      held = Buffer.concat([held, chunk]);
      while (held.length >= 2 && held.length >= held.readUInt16BE(0) + 2) {
        const end = held.readUInt16BE(0) + 2;
        void this.#answerByTcp(connection, held.subarray(2, end));
        held = held.subarray(end);
      }
    });
  }

  async #answerByTcp(connection: Socket, packet: Buffer): Promise<void> {
    for (const reply of await this.#answer(packet, 'tcp', connection.remotePort ?? 0)) {
      const length = Buffer.alloc(2);
      length.writeUInt16BE(reply.length);
      connection.write(Buffer.concat([length, reply]));
    }
  }

  async #answer(packet: Buffer, by: DnsAsk['by'], port: number): Promise<readonly Buffer[]> {
    const query = decode(packet) as Packet & { id: number };
    const question = query.questions?.[0];
    if (!question) return [];
    const edns = (query.additionals ?? []).some((each) => each.type === 'OPT');
    const ask: DnsAsk = { name: question.name, type: question.type, by, edns, id: query.id, port };
    this.asked.push(ask);
    const answer = await this.onQuery(ask);
    if (!answer) return [];
    const truncated = answer.truncated === true;
    const reply = encode({
      type: 'response',
      id: query.id,
      flags: AUTHORITATIVE_ANSWER | (truncated ? TRUNCATED_RESPONSE : 0) | (answer.rcode ?? 0),
      questions: [question],
      answers: truncated ? [] : [...(answer.answers ?? [])],
      authorities: [...(answer.authorities ?? [])],
      additionals: [...(answer.additionals ?? [])],
    });
    const sent = this.onSend(reply, ask);
    return Buffer.isBuffer(sent) ? [sent] : sent;
  }
}

export function srv(name: string, target: string, port: number, weight = 1, priority = 0, ttl = 0): Answer {
  return { type: 'SRV', name, ttl, data: { target, port, weight, priority } };
}

export function a(name: string, address: string, ttl = 0): Answer {
  return { type: 'A', name, ttl, data: address };
}

export function aaaa(name: string, address: string, ttl = 0): Answer {
  return { type: 'AAAA', name, ttl, data: address };
}

export function cname(name: string, target: string, ttl = 0): Answer {
  return { type: 'CNAME', name, ttl, data: target };
}
