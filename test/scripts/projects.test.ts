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

test('every test file is in one project, and every project in `npm test` but the long one', () => {
  const files = filesByProject();
  expect([...files.values()].flat().sort()).toEqual(globSync('test/**/*.test.ts', { cwd: ROOT }).sort());
  const inNpmTest = projectsOf('test.ts');
  expect([...inNpmTest, ...projectsOf('test-long.ts')].sort()).toEqual([...files.keys()].sort());
  expect(projectsOf('test-long.ts')).toEqual(['long']);
  expect(inNpmTest).toEqual(expect.arrayContaining(projectsOf('check.ts')));
  for (const [project, paths] of files) {
    expect(paths.filter((path) => path.startsWith('test/long/')).length > 0).toBe(project === 'long');
    expect(project === 'long' && paths.some((path) => !path.startsWith('test/long/'))).toBe(false);
  }
});
