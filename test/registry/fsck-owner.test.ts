// SPDX-License-Identifier: Apache-2.0
// Root checks and changes a folder of another user: the service can open it afterwards.

import { chmod, chown, cp, link, mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { say } from '../cli/command-line.ts';
import { RunningRegistry } from './running-registry.ts';

const NOBODY = 65_534;

const ownersIn = async (folder: string) => {
  const owners = await Promise.all((await readdir(folder)).map((name) => stat(join(folder, name))));
  return [...new Set(owners.map(({ uid, gid }) => `${uid}:${gid}`))];
};

test('root leaves the database to its owner', async (context) => {
  if (process.geteuid?.() !== 0) context.skip('needs root, who may give files to others');
  const home = await mkdtemp(join(tmpdir(), 'waybill-fsck-'));
  onTestFinished(() => rm(home, { recursive: true }));
  const folder = join(home, 'data');
  const registry = await RunningRegistry.start();
  await registry.restart(() => cp(registry.dataFolder, folder, { recursive: true }));
  await registry.close();
  const database = join(folder, 'state', 'db');
  await chown(database, NOBODY, NOBODY);
  expect((await say(['fsck', folder])).code).toBe(0);
  expect(await ownersIn(database)).toEqual([`${NOBODY}:${NOBODY}`]);
});

test('root leaves keys and trust material to their owner, but no key that was handed to a group, and no file with two names', async (context) => {
  if (process.geteuid?.() !== 0) context.skip('needs root, who may give files to others');
  const registry = await RunningRegistry.start();
  onTestFinished(() => registry.close());
  const at = (...names: string[]) => join(registry.dataFolder, ...names);
  for (const part of ['keys', 'trust', 'unbegun']) await chown(at(part), NOBODY, NOBODY);
  await chmod(at('keys', 'ct.pem'), 0o640);
  await writeFile(at('elsewhere'), 'x');
  await link(at('elsewhere'), at('trust', 'linked'));
  expect((await say(['rotate', registry.dataFolder, 'log'])).code).toBe(0);
  expect((await say(['tuf', 'online-keys', registry.dataFolder])).code).toBe(0);
  const ownerOf = async (...names: string[]) => (await stat(at(...names))).uid;
  expect(await ownersIn(at('unbegun'))).toEqual([`${NOBODY}:${NOBODY}`]);
  for (const name of ['log.pem', 'log-2.pem', 'tuf-snapshot-2.pem'])
    expect([name, await ownerOf('keys', name)]).toEqual([name, NOBODY]);
  expect(await ownerOf('trust', 'trusted_root.json')).toBe(NOBODY);
  expect(await ownerOf('keys', 'ct.pem')).toBe(0);
  expect(await ownerOf('trust', 'linked')).toBe(0);
});
