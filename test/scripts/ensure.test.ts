// SPDX-License-Identifier: Apache-2.0
// What must be there before a command runs: packages as the lock file says, the pinned Node, Debian's tools.

import { spawnSync } from 'node:child_process';
import {
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, expect, test } from 'vitest';

const require = createRequire(import.meta.url);
const { debianPlan, isMissing, staleness } = require('../../scripts/ensure.cjs') as {
  debianPlan(
    missing: string[],
    rights: { asRoot: boolean; hasSudo: boolean },
  ): { message: string; steps?: string[][] };
  isMissing(row: { executable?: string; file?: string; processor?: string }, processor: string): boolean;
  staleness(root: string, required: string | undefined): string | undefined;
};
const { linkNode, pinnedPackage } = require('../../scripts/link-node.cjs') as {
  linkNode(root: string): string | undefined;
  pinnedPackage(): string | undefined;
};
const ROOT = fileURLToPath(new URL('../..', import.meta.url));

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'waybill-ensure-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const locked = {
  '': {},
  'node_modules/a': { version: '1.0.0', integrity: 'sha512-a' },
  'node_modules/node-x': { version: '24.0.0', integrity: 'sha512-x', optional: true },
  'node_modules/node-y': { version: '24.0.0', integrity: 'sha512-y', optional: true },
};
const installedFor = (name: string) => ({
  'node_modules/a': locked['node_modules/a'],
  [`node_modules/${name}`]: locked['node_modules/node-x'],
});

function lay(installed: object | undefined): void {
  writeFileSync(join(folder, 'package.json'), '{}');
  writeFileSync(join(folder, 'package-lock.json'), JSON.stringify({ packages: locked }));
  if (installed === undefined) return;
  mkdirSync(join(folder, 'node_modules'));
  writeFileSync(join(folder, 'node_modules', '.package-lock.json'), JSON.stringify({ packages: installed }));
}

test('what the lock file says is not stale, packages for other platforms missing', () => {
  lay(installedFor('node-x'));
  expect(staleness(folder, 'node-x')).toBeUndefined();
});

test('missing, changed, foreign and half-made installations are stale', () => {
  lay(undefined);
  expect(staleness(folder, 'node-x')).toBe('none are there');
  mkdirSync(join(folder, 'node_modules', 'a'), { recursive: true });
  expect(staleness(folder, 'node-x')).toBe('none are there');
  const cases: [object, string][] = [
    [{ 'node_modules/a': locked['node_modules/a'] }, 'node_modules/node-x is missing'],
    [{ 'node_modules/node-x': locked['node_modules/node-x'] }, 'node_modules/a is missing'],
    [{ ...installedFor('node-x'), 'node_modules/a': { version: '1.0.1' } }, 'node_modules/a has changed'],
    [{ ...installedFor('node-x'), 'node_modules/b': {} }, 'node_modules/b is not in the lock file'],
  ];
  for (const [installed, reason] of cases) {
    writeFileSync(
      join(folder, 'node_modules', '.package-lock.json'),
      JSON.stringify({ packages: installed }),
    );
    expect(staleness(folder, 'node-x')).toBe(reason);
  }
});

test('the link is made where npm made none, and mended where it leads elsewhere', (context) => {
  const name = pinnedPackage();
  if (name === undefined) return context.skip(`no pinned Node for ${process.platform}-${process.arch}`);
  expect(linkNode(folder)).toBeUndefined();
  mkdirSync(join(folder, 'node_modules', name, 'bin'), { recursive: true });
  writeFileSync(join(folder, 'node_modules', name, 'bin', 'node'), '');
  writeFileSync(join(folder, 'node_modules', name, 'package.json'), '{"version":"24.0.0"}');
  const link = join(folder, 'node_modules', '.bin', 'node');
  expect(linkNode(folder)).toBe('24.0.0');
  expect(readlinkSync(link)).toBe(join('..', name, 'bin', 'node'));
  rmSync(link);
  symlinkSync('/nowhere', link);
  expect(linkNode(folder)).toBe('24.0.0');
  expect(readlinkSync(link)).toBe(join('..', name, 'bin', 'node'));
});

test('npx runs the command of the checkout, on the pinned Node and without a word of its own', () => {
  const run = spawnSync('npx', ['waybill', '--version'], { cwd: ROOT, encoding: 'utf8' });
  const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));
  expect(run).toMatchObject({ status: 0, stdout: `${version}\n`, stderr: '' });
});

test('with its commands in PATH, waybill runs from anywhere', () => {
  const commands = join(ROOT, 'node_modules', '.bin');
  const env = { ...process.env, PATH: `${commands}:${process.env.PATH}` };
  const run = spawnSync('waybill', ['key', 'new', '--help'], { cwd: tmpdir(), encoding: 'utf8', env });
  expect(run).toMatchObject({ status: 0, stdout: expect.stringContaining('waybill key new'), stderr: '' });
});

test('this run is on the Node that the lock file pins', (context) => {
  const name = pinnedPackage();
  if (name === undefined) return context.skip(`no pinned Node for ${process.platform}-${process.arch}`);
  const lock = JSON.parse(readFileSync(join(ROOT, 'package-lock.json'), 'utf8'));
  expect(process.version).toBe(`v${lock.packages[`node_modules/${name}`].version}`);
});

test('who may install gets commands to run, and everyone the command to type', () => {
  const plan = (asRoot: boolean, hasSudo: boolean) => debianPlan(['zstd', 'bubblewrap'], { asRoot, hasSudo });
  const install = ['apt-get', 'install', '-y', '--no-install-recommends', 'zstd', 'bubblewrap'];
  expect(plan(true, false).steps).toEqual([['apt-get', 'update'], install]);
  expect(plan(false, true).steps?.[1]).toEqual(['sudo', '-n', ...install]);
  expect(plan(false, false).steps).toBeUndefined();
  expect(plan(false, false).message).toContain(`\n  sudo apt-get update && sudo ${install.join(' ')}\n`);
  expect(plan(true, false).message).toContain(`\n  apt-get update && ${install.join(' ')}\n`);
});

test('what is there, and what is for another processor, is not installed', () => {
  expect(isMissing({ executable: 'sh' }, 'x64')).toBe(false);
  expect(isMissing({ file: '/nonexistent' }, 'arm64')).toBe(true);
  expect(isMissing({ executable: 'nosuch', processor: 'x64' }, 'x64')).toBe(true);
  expect(isMissing({ executable: 'nosuch', processor: 'x64' }, 'arm64')).toBe(false);
});

test('an unknown command is refused', () => {
  const run = spawnSync(process.execPath, [join(ROOT, 'scripts', 'ensure.cjs'), 'nonsense'], {
    encoding: 'utf8',
  });
  expect(run.status).toBe(1);
  expect(run.stderr).toContain('expected one of test, test:long, test:peers, demo');
});

test('each Debian package of a command has its row, with a reason and what shows that it is there', () => {
  const table = JSON.parse(readFileSync(join(ROOT, 'scripts', 'debian-packages.json'), 'utf8')) as {
    packages: Record<string, { executable?: string; file?: string; why: string }>;
    commands: Record<string, string[]>;
  };
  const named = new Set(Object.values(table.commands).flat());
  expect([...named].sort()).toEqual(Object.keys(table.packages).sort());
  for (const row of Object.values(table.packages)) {
    expect((row.executable === undefined) !== (row.file === undefined)).toBe(true);
    expect(row.why).not.toBe('');
  }
  const scripts = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')).scripts as Record<
    string,
    string
  >;
  for (const command of Object.keys(table.commands)) {
    expect(scripts[`pre${command}`]).toBe(`node scripts/ensure.cjs ${command}`);
  }
});
