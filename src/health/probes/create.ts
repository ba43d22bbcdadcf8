import dns from 'node:dns';
import type { LookupFunction } from 'node:net';
import { guardedLookup, type AddressPolicy } from '../../core/address.ts';
import type { HttpCheck } from '../../core/check.ts';
import type { Clock } from '../../core/clock.ts';
import type { CreateProbe, Probe, Report } from '../probe.ts';
import { hostNameOf, type ConnectOptions, type TlsOptions } from './connect.ts';
import { GrpcProbe } from './grpc.ts';
import { ExchangePool } from './http-exchange.ts';
import { RequestBuffer, requestTemplate, type RequestTemplate } from './http-request.ts';
import { HttpProbe, type HttpProbeOptions } from './http.ts';
import { KeptConnections } from './kept-connections.ts';
import { type ReadFile, SecureContexts } from './secure-contexts.ts';
import { ScriptProbe, type ScriptOptions } from './script.ts';
import { TcpProbe } from './tcp.ts';

export interface ProbeFactoryOptions {
  readonly clock: Clock;
  /** Where probes may connect to; asked for every connection, after resolution. Missing: anywhere. */
  readonly addresses?: AddressPolicy | undefined;
  /** Resolves host names. Runs within the deadline of the probe. Default: the system's resolver. */
  readonly lookup?: LookupFunction;
  /** Reads a file of authorities (PEM) that a check names; throws where it cannot. Missing: such checks fail. */
  readonly readFile?: ReadFile;
  /**
   * Connections kept between probes, over all instances. Each takes a file descriptor, which clients and instances need
   * as well: a quarter of the process's limit is plenty. A probe without one connects anew, which costs three times as
   * much. Default 10,000.
   */
  readonly maxKept?: number;
  /** In place of `maxKept`: for who wants to know how many there are. */
  readonly kept?: KeptConnections;
  /** Default `fairlead-probe`. */
  readonly userAgent?: string;
  /** Forces the documented socket layer. For comparison and for tests. */
  readonly plainSockets?: boolean;
  /** What scripts run with; missing: script checks fail, and say so. */
  readonly script?: Omit<ScriptOptions, 'clock'> | undefined;
}

/** Makes probes of every type that asks. What all of them share lives here. */
export function createProbeFactory(options: ProbeFactoryOptions): CreateProbe {
  const { addresses, lookup = dns.lookup, script, clock } = options;
  const connect: ConnectOptions = {
    lookupFor: (port) => (addresses === undefined ? lookup : guardedLookup(addresses, port, lookup)),
    refuse: addresses === undefined ? undefined : (ip, port) => addresses.refuseAddress(ip, port),
    plainSockets: options.plainSockets,
  };
  const kept = options.kept ?? new KeptConnections(options.maxKept ?? 10_000);
  const userAgent = options.userAgent ?? 'fairlead-probe';
  const plain: HttpProbeOptions = {
    connect,
    tls: undefined,
    kept,
    exchanges: new ExchangePool(),
    requests: new RequestBuffer(),
  };
  const requests = new WeakMap<HttpCheck, RequestTemplate>();
  const requestOf = (check: HttpCheck): RequestTemplate => {
    let request = requests.get(check);
    if (request === undefined) requests.set(check, (request = requestTemplate(check, userAgent)));
    return request;
  };
  const contexts = new SecureContexts(clock, options.readFile);
  const tlsFor = (
    host: string,
    check: { host?: string | undefined; verifyTls?: boolean | undefined; caFile?: string | undefined },
    protocol: string,
  ): TlsOptions => ({
    context: contexts.trusting(check.caFile),
    name: check.host === undefined ? host : hostNameOf(check.host),
    verify: check.verifyTls ?? true,
    protocol,
  });
  const secure: HttpProbeOptions = { ...plain, tls: (to, check) => tlsFor(to.host, check, 'http/1.1') };
  return (to, check, report) => {
    switch (check.type) {
      case 'tcp':
        return new TcpProbe(connect, to, report);
      case 'http':
        return new HttpProbe(plain, to, check, requestOf(check), report);
      case 'https':
        return new HttpProbe(secure, to, check, requestOf(check), report);
      case 'grpc':
        return new GrpcProbe(
          { connect, kept, userAgent, tls: check.tls ? () => tlsFor(to.host, check, 'h2') : undefined },
          to,
          check,
          report,
        );
      case 'script':
        return script === undefined
          ? impossible('script checks are not enabled here', report)
          : new ScriptProbe({ ...script, clock }, to, check, report);
      case 'ttl':
        return impossible('the instance reports by itself', report);
    }
  };
}

function impossible(text: string, report: Report): Probe {
  return { start: () => report({ result: 'fail', text }), abort: () => 'nothing', close: () => undefined };
}
