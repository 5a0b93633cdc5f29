// SPDX-License-Identifier: Apache-2.0
// Which command runs which tests: each file once, and what is long apart from the rest.

import { execFileSync } from 'node:child_process';
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { relative } from 'node:path/posix';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

/** The projects that a script gives to `verdict`. */
function projectsOf(script: string): string[] {
  const named = /^process\.exitCode = await verdict\((\[.*\])\);$/m.exec(
    readFileSync(join(ROOT, 'scripts', script), 'utf8'),
  )?.[1];
  return JSON.parse(named?.replaceAll("'", '"') ?? '[]');
}

/** Paths of test files by the name of their project, as vitest itself finds them. */
function filesByProject(): Map<string, string[]> {
  const vitest = [join(ROOT, 'node_modules/vitest/vitest.mjs'), 'list', '--filesOnly', '--json'];
  // Not as a part of the run that this test is in.
  const env = { PATH: process.env.PATH };
  const listed = execFileSync(process.execPath, vitest, { cwd: ROOT, encoding: 'utf8', env });
  const found = new Map<string, string[]>();
  for (const { file, projectName } of JSON.parse(listed) as { file: string; projectName: string }[]) {
    found.set(projectName, [...(found.get(projectName) ?? []), relative(ROOT, file)]);
  }
  return found;
}

test('every test file is in one project, and every project in `npm test` but the long one and that of stock clients', () => {
  const files = filesByProject();
  expect([...files.values()].flat().sort()).toEqual(globSync('test/**/*.test.ts', { cwd: ROOT }).sort());
  const inNpmTest = projectsOf('test.ts');
  const apart = [...projectsOf('test-long.ts'), ...projectsOf('test-peers.ts')];
  expect(apart).toEqual(['long', 'stock']);
  expect([...inNpmTest, ...apart].sort()).toEqual([...files.keys()].sort());
  expect(inNpmTest).toEqual(expect.arrayContaining(projectsOf('check.ts')));
  for (const [project, paths] of files) {
    for (const [name, folder] of [
      ['long', 'test/long/'],
      ['stock', 'test/stock-clients/'],
    ] as const) {
      expect(paths.filter((path) => path.startsWith(folder)).length > 0).toBe(project === name);
      expect(project === name && paths.some((path) => !path.startsWith(folder))).toBe(false);
    }
  }
});
