// SPDX-License-Identifier: Apache-2.0
// A private certificate authority of OpenSSL's making, and certificates by it for loopback.

import { execFileSync } from 'node:child_process';
import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

export class PrivateAuthority {
  readonly folder: string;
  /** PEM file of the authority. */
  readonly path: string;
  #count = 0;

  private constructor(folder: string) {
    this.folder = folder;
    this.path = join(folder, 'ca.pem');
  }

  static async make(folder: string): Promise<PrivateAuthority> {
    await mkdir(folder, { recursive: true });
    const authority = new PrivateAuthority(folder);
    authority.#openssl(
      ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2'],
      ...['-subj', '/O=Test/CN=private CA', '-keyout', 'ca.key', '-out', 'ca.pem'],
    );
    return authority;
  }

  /** Makes a key and a certificate for it; returns their paths. */
  async issue(name: string, use: 'serverAuth' | 'clientAuth'): Promise<{ certificate: string; key: string }> {
    const [key, request, certificate] = ['key', 'csr', 'pem'].map((end) => `${name}.${end}`) as [
      string,
      string,
      string,
    ];
    const extensions = `subjectAltName=IP:127.0.0.1,DNS:localhost\nextendedKeyUsage=${use}\n`;
    await writeFile(join(this.folder, 'extensions'), extensions);
    this.#openssl(
      ...['req', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-subj', `/CN=${name}`],
      ...['-keyout', key, '-out', request],
    );
    this.#openssl(
      ...[
        'x509',
        '-req',
        '-in',
        request,
        '-CA',
        'ca.pem',
        '-CAkey',
        'ca.key',
        '-set_serial',
        String(++this.#count),
      ],
      ...['-days', '1', '-extfile', 'extensions', '-out', certificate],
    );
    await chmod(join(this.folder, key), 0o600);
    return { certificate: join(this.folder, certificate), key: join(this.folder, key) };
  }

  #openssl(...args: readonly string[]): void {
    execFileSync('openssl', args, { cwd: this.folder, stdio: 'pipe' });
  }
}
