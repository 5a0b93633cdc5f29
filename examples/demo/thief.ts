// SPDX-License-Identifier: Apache-2.0
// All keys inside `waybill serve` stolen at once: the thief runs a registry of its own on a copy of the data folder. It has
// the same authority, logs, timestamps and online TUF roles, and it logs whatever it likes.

import { cp, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { generateKey, publicKeyDer, writePrivateKey } from '../../release/key-file.ts';
import { freePort, serve, stop } from './processes.ts';
import type { Road } from './road.ts';

export interface Thief {
  readonly url: string;
  readonly dataFolder: string;
  /** A P-256 key of the thief's that its own log admits. */
  readonly keyPath: string;
  close(): Promise<void>;
}

/** Starts the thief's registry on a copy that was taken while the real one stood still. */
export async function startThief(road: Road): Promise<Thief> {
  const folder = join(road.folder, 'thief');
  await mkdir(folder);
  const dataFolder = join(folder, 'registry');
  await road.standStill(() => cp(road.dataFolder, dataFolder, { recursive: true }));
  const key = generateKey('p256');
  const keyPath = join(folder, 'thief.pem');
  await writePrivateKey(keyPath, key);
  const url = `http://127.0.0.1:${await freePort()}`;
  const config = join(dataFolder, 'config.yaml');
  const text = (await readFile(config, 'utf8'))
    .replaceAll(road.registryUrl, url)
    .replaceAll(new URL(road.registryUrl).port, new URL(url).port);
  const publicKey = Buffer.from(publicKeyDer(key)).toString('base64');
  await writeFile(
    config,
    `${text.replace(/^keys:.*\n/m, '')}keys:\n  - name: thief\n    publicKey: ${publicKey}\n`,
  );
  const server = await serve(road.cli, dataFolder, url);
  return { url, dataFolder, keyPath, close: () => stop(server) };
}
