// SPDX-License-Identifier: Apache-2.0
// Tokens of SoftHSM in a folder of their own, with keys that OpenSC's tool made: what an officer brings.

import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** SoftHSM's PKCS#11 module, where Debian puts it. */
export const SOFTHSM_MODULE = '/usr/lib/softhsm/libsofthsm2.so';

/** Why tokens cannot be tried here; undefined if they can. */
export function lacksTokens(): string | undefined {
  const missing = [SOFTHSM_MODULE, '/usr/bin/pkcs11-tool', '/usr/bin/softhsm2-util'].filter(
    (path) => !existsSync(path),
  );
  return missing.length === 0 ? undefined : `no ${missing.join(', ')} (Debian packages softhsm2 and opensc)`;
}

export class Tokens {
  private readonly folder: string;

  private constructor(folder: string) {
    this.folder = folder;
  }

  static async open(folder: string): Promise<Tokens> {
    const config = join(folder, 'softhsm2.conf');
    await mkdir(join(folder, 'tokens'), { recursive: true });
    await writeFile(
      config,
      `directories.tokendir = ${folder}/tokens\nobjectstore.backend = file\nlog.level = ERROR\n`,
    );
    process.env.SOFTHSM2_CONF = config;
    return new Tokens(folder);
  }

  /** Makes a token with a PIN in a file beside it. */
  async make(label: string, pin: string): Promise<void> {
    const so = ['--so-pin', '12345678', '--pin', pin];
    await run('softhsm2-util', ['--init-token', '--free', '--label', label, ...so]);
    await writeFile(this.pinPath(label), `${pin}\n`, { mode: 0o600 });
  }

  pinPath(label: string): string {
    return join(this.folder, `${label}.pin`);
  }

  /** Makes a key pair in a token. */
  async addKey(label: string, key: string, id: string, type = 'EC:prime256v1'): Promise<void> {
    const login = ['--module', SOFTHSM_MODULE, '--token-label', label, '--login', '--pin', 'env:TEST_PIN'];
    await run('pkcs11-tool', [...login, '--keypairgen', '--key-type', type, '--label', key, '--id', id], {
      env: { ...process.env, TEST_PIN: await this.pin(label) },
    });
  }

  private async pin(label: string): Promise<string> {
    return (await readFile(this.pinPath(label), 'utf8')).trim();
  }

  uri(label: string, key: string, pinSource: string | undefined = this.pinPath(label)): string {
    const query = pinSource === undefined ? '' : `&pin-source=file:${pinSource}`;
    return `pkcs11:token=${label};object=${key}?module-path=${SOFTHSM_MODULE}${query}`;
  }
}
