// SPDX-License-Identifier: Apache-2.0
// All keys inside `waybill serve` stolen at once: the thief runs a registry of its own on a copy of the data folder. It has
// the same authority, logs, timestamps and online TUF roles, and it logs whatever it likes. It has the keys of the log's witnesses
// as well, and runs its own where its server looks for them: else nothing that it logs would get past the quorum to be refused by
// what comes after.

import type { ChildProcess } from 'node:child_process';
import { cp, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { generateKey, publicKeyDer, writePrivateKey } from '../../release/key-file.ts';
import { freePort, serve, serveWitness, stop } from './processes.ts';
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
  const routes: Record<string, string> = {};
  const witnesses: { readonly folder: string; readonly url: string }[] = [];
  await road.standStill(async () => {
    await cp(road.dataFolder, dataFolder, { recursive: true });
    for (const witness of road.witnesses.places) {
      const own = { folder: join(folder, witness.name), url: `http://127.0.0.1:${await freePort()}` };
      // Not `lock`, which the witness holds.
      for (const name of ['key.pem', 'vkey', 'logs']) {
        await cp(join(witness.folder, name), join(own.folder, name), { recursive: true });
      }
      witnesses.push(own);
      routes[witness.url] = own.url;
    }
  });
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
  const running: ChildProcess[] = [];
  for (const own of witnesses) running.push(await serveWitness(road.cli, own.folder, own.url));
  const env = { NODE_OPTIONS: `--import ${await writeRoutes(folder, routes)}` };
  running.push(await serve(road.cli, dataFolder, url, env));
  const close = async () => {
    for (const child of running) await stop(child);
  };
  return { url, dataFolder, keyPath, close };
}

/** A module that leads what the thief's server asks of the witnesses to the thief's own, as a router of the thief's would. */
async function writeRoutes(folder: string, routes: Readonly<Record<string, string>>): Promise<string> {
  const path = join(folder, 'routes.mjs');
  const lines = [
    `const routes = ${JSON.stringify(Object.entries(routes))};`,
    'const ask = globalThis.fetch;',
    'globalThis.fetch = (url, init) =>',
    '  ask(routes.reduce((to, [from, own]) => to.replace(from, own), String(url)), init);',
    '',
  ];
  await writeFile(path, lines.join('\n'));
  return path;
}
