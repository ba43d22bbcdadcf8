import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface Certificate {
  readonly certFile: string;
  readonly keyFile: string;
  readonly cert: string;
  readonly key: string;
}

/** An authority of our own, in a temporary folder. Needs the `openssl` command. */
export class TestAuthority {
  readonly #folder = mkdtempSync(join(tmpdir(), 'fairlead-tls-'));
  readonly ca: Certificate;

  constructor(name = 'fairlead test authority') {
    const [certFile, keyFile] = [join(this.#folder, 'ca.pem'), join(this.#folder, 'ca.key')];
    const request = [
      'req',
      '-x509',
      ...NEW_KEY,
      '-keyout',
      keyFile,
      '-out',
      certFile,
      '-days',
      '2',
      '-subj',
      `/CN=${name}`,
    ];
    openssl(request);
    this.ca = { certFile, keyFile, cert: readFileSync(certFile, 'utf8'), key: readFileSync(keyFile, 'utf8') };
  }

  /** For a server at these names and addresses; good as a client's certificate too. */
  issue(commonName: string, names: readonly string[] = ['DNS:localhost', 'IP:127.0.0.1']): Certificate {
    const base = join(this.#folder, commonName);
    const [certFile, keyFile] = [`${base}.pem`, `${base}.key`];
    writeFileSync(`${base}.ext`, `subjectAltName=${names.join(',')}\nextendedKeyUsage=serverAuth,clientAuth\n`);
    openssl(['req', ...NEW_KEY, '-keyout', keyFile, '-out', `${base}.csr`, '-subj', `/CN=${commonName}`]);
    const authority = ['-CA', this.ca.certFile, '-CAkey', this.ca.keyFile, '-CAcreateserial'];
    openssl([
      'x509',
      '-req',
      '-in',
      `${base}.csr`,
      ...authority,
      '-days',
      '2',
      '-extfile',
      `${base}.ext`,
      '-out',
      certFile,
    ]);
    return { certFile, keyFile, cert: readFileSync(certFile, 'utf8'), key: readFileSync(keyFile, 'utf8') };
  }

  [Symbol.dispose](): void {
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

const NEW_KEY = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];

function openssl(args: readonly string[]): void {
  execFileSync('openssl', args, { stdio: ['ignore', 'ignore', 'pipe'], timeout: 20_000 });
}
