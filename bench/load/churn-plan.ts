/**
 * none: the instances stay as they are, and nobody calls. again: as many calls as `real`, every one of which changes
 * nothing (the same registration once more, an id that nobody has). real: for each that comes, one goes.
 */
export type ChurnKind = 'none' | 'again' | 'real';

export interface ChurnPlanOptions {
  readonly kind: ChurnKind;
  /** Instances are dealt out in turn to so many services of this name, or to that one. */
  readonly service: string;
  readonly services: number;
  /** Registered before the first call, and at any time after it. */
  readonly instances: number;
  /** Where every one of them listens. */
  readonly instancePort: number;
}

/** A call of the registry's own API. */
export interface RegistryCall {
  readonly method: 'POST' | 'DELETE';
  readonly path: string;
  /** Empty = none. */
  readonly body: string;
  /** The status that says that it did what it is here for. */
  readonly expected: number;
}

/** 2^20 addresses from 127.1.0.0 on, all of them this machine: one that comes is not taken for one that has just gone. */
function addressOf(index: number): string {
  const at = index % 2 ** 20;
  return `127.${1 + (at >>> 16)}.${(at >>> 8) & 255}.${at & 255}`;
}

/** Which call comes when. Instances are numbered; those that are there form a window that moves up with each pair. */
export class ChurnPlan {
  readonly #options: ChurnPlanOptions;

  constructor(options: ChurnPlanOptions) {
    this.#options = options;
  }

  /** What is registered before the first step. */
  first(): RegistryCall[] {
    return Array.from({ length: this.#options.instances }, (_, index) => this.#register(index));
  }

  /** The call of a step, from 0 on: coming and going by turns. */
  step(step: number): RegistryCall {
    const { kind, instances } = this.#options;
    const pair = step >>> 1;
    const comes = step % 2 === 0;
    if (kind === 'real') return comes ? this.#register(instances + pair) : this.#deregister(pair);
    return comes ? this.#register(pair % instances) : { ...this.#deregister(pair), path: NOBODY, expected: 404 };
  }

  /** Takes away what is there after so many steps. */
  last(steps: number): RegistryCall[] {
    const { kind, instances } = this.#options;
    const from = kind === 'real' ? steps >>> 1 : 0;
    const to = instances + (kind === 'real' ? (steps + 1) >>> 1 : 0);
    return Array.from({ length: to - from }, (_, at) => this.#deregister(from + at));
  }

  #register(index: number): RegistryCall {
    const { service, services, instancePort } = this.#options;
    const serviceName = services === 1 ? service : `${service}-${index % services}`;
    const body = JSON.stringify({ serviceName, host: addressOf(index), port: instancePort, id: idOf(index) });
    return { method: 'POST', path: '/register', body, expected: 201 };
  }

  #deregister(index: number): RegistryCall {
    return { method: 'DELETE', path: `/deregister/${idOf(index)}`, body: '', expected: 200 };
  }
}

const idOf = (index: number): string => `c-${index}`;
const NOBODY = '/deregister/nobody';

export function encodeCall({ method, path, body }: RegistryCall): Buffer {
  const lines = [`${method} ${path} HTTP/1.1`, 'Host: localhost'];
  if (body !== '') lines.push('Content-Type: application/json', `Content-Length: ${Buffer.byteLength(body)}`);
  return Buffer.from(`${lines.join('\r\n')}\r\n\r\n${body}`);
}
