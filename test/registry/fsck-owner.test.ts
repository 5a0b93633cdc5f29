// SPDX-License-Identifier: Apache-2.0
// Root checks a folder of another user, as one does with a backup: the service can open it afterwards.

import { chown, cp, mkdtemp, readdir, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { say } from '../cli/command-line.ts';
import { RunningRegistry } from './running-registry.ts';

const NOBODY = 65_534;

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
  const owners = await Promise.all((await readdir(database)).map((name) => stat(join(database, name))));
  expect(new Set(owners.map(({ uid, gid }) => `${uid}:${gid}`))).toEqual(new Set([`${NOBODY}:${NOBODY}`]));
});
