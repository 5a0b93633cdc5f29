// SPDX-License-Identifier: Apache-2.0
// A user whom the system does not know and who has no HOME, as containers run commands: what needs no home works, what does says so.

import { spawnSync } from 'node:child_process';
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, onTestFinished, test } from 'vitest';
import { init } from '../../cli/init.ts';

const COMMAND = fileURLToPath(new URL('../../cli/waybill.js', import.meta.url));
const ANY_FILE = fileURLToPath(new URL('../vectors/packs/trusted_root.json', import.meta.url));
const { HOME: _, XDG_CACHE_HOME: __, XDG_STATE_HOME: ___, ...env } = process.env;

const asStranger = (...args: readonly string[]) =>
  spawnSync(process.execPath, args, { uid: 54321, gid: 54321, env, cwd: '/', encoding: 'utf8' });

test('runs, and is told which variable is missing', async (context) => {
  if (process.getuid?.() !== 0) context.skip('only root may run a command as somebody else');
  const reads = asStranger('-e', `require('node:fs').accessSync(${JSON.stringify(COMMAND)})`);
  if (reads.status !== 0) context.skip('this checkout is not readable to others');
  expect(asStranger(COMMAND, 'verify', '--help')).toMatchObject({ status: 0, stderr: '' });
  const home = await mkdtemp(join(tmpdir(), 'waybill-stranger-'));
  onTestFinished(() => rm(home, { recursive: true }));
  const [folder, offline] = [join(home, 'registry'), join(home, 'offline')];
  const keys = { rootKeys: 1, rootThreshold: 1 };
  const { rootPath } = await init({ folder, offline, url: 'http://127.0.0.1:1', org: 'a.example', ...keys });
  for (const path of [home, folder]) await chmod(path, 0o755);
  const registry = ['--root', rootPath, '--registry', 'http://127.0.0.1:1'];
  const asked = asStranger(COMMAND, 'verify', ANY_FILE, ...registry, '--identity', 'x', '--issuer', 'y');
  expect(asked).toMatchObject({ status: 2, stderr: expect.stringContaining('XDG_STATE_HOME') });
  const lock = fileURLToPath(new URL('../../examples/optiboot/waybill.yaml', import.meta.url));
  const built = asStranger(COMMAND, 'build', lock, '--out', '/tmp/nobody');
  expect(built).toMatchObject({ status: 75, stderr: expect.stringContaining('XDG_CACHE_HOME') });
});
