// SPDX-License-Identifier: Apache-2.0
// The package as a user gets it: built, packed, unpacked in an empty folder, and run.

import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readdir, readFile, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { buildPackage } from '../../scripts/build.ts';

const run = promisify(execFile);
const ROOT = fileURLToPath(new URL('../..', import.meta.url));
let folder: string;
let installed: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'waybill-package-'));
  buildPackage(join(folder, 'laid'));
  await run('npm', ['pack', join(folder, 'laid'), '--silent'], { cwd: folder });
  const [tarball = ''] = (await readdir(folder)).filter((name) => name.endsWith('.tgz'));
  const modules = join(folder, 'user', 'node_modules');
  await mkdir(modules, { recursive: true });
  await run('tar', ['-xzf', join(folder, tarball), '-C', modules]);
  installed = join(modules, 'package');
  // Its dependencies, as the lock file pins them.
  await symlink(join(ROOT, 'node_modules'), join(installed, 'node_modules'));
});

afterAll(() => rm(folder, { recursive: true, force: true }));

test('the packed command runs from dist and knows every verb of the sources', async () => {
  const command = (root: string) => run(process.execPath, [join(root, 'cli', 'waybill.js'), '--help']);
  const [packed, sources] = [await command(installed), await command(ROOT)];
  expect(packed.stdout).toBe(sources.stdout);
  expect(packed.stderr).toBe('');
});

test('the command starts on any Node far enough to say that it is too old', async () => {
  const text = await readFile(join(ROOT, 'cli', 'waybill.js'), 'utf8');
  // What else is imported before the version is looked at may lack names in an old Node, which is a syntax error there.
  expect([...text.matchAll(/^import .* from '(.*)';$/gm)].map(([, name]) => name)).toEqual([
    'node:fs',
    'node:os',
    'node:path',
  ]);
});

test('the package holds compiled rooms, pages and licence, and no sources or tests', async () => {
  const names = (await readdir(installed, { recursive: true })).filter(
    (name) => !name.startsWith('node_modules'),
  );
  expect(names).toContain('LICENSE');
  expect(names).toContain('docs/errors.md');
  expect(names).toContain('dist/cli/main.js');
  expect(
    names.filter((name) => name.endsWith('.ts') || /^(dist\/)?(test|bench|scripts)\b/.test(name)),
  ).toEqual([]);
});
