// SPDX-License-Identifier: Apache-2.0
// `npm run build [-- FOLDER]`: lays the package that is published into FOLDER (default .check/package): compiled rooms in
// dist/, the command, licence and pages. The checkout itself never holds a dist/, so nobody runs a stale one.

import { spawnSync } from 'node:child_process';
import { cpSync, globSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const ROOT = fileURLToPath(new URL('..', import.meta.url));

/** Rooms that run on a user's machine. */
const ROOMS = ['core', 'policy', 'peers', 'builder', 'attest', 'registry', 'release', 'device', 'cli'];

/** Members of package.json that mean something to who installs the package. */
const MEMBERS = [
  'name',
  'version',
  'description',
  'license',
  'type',
  'engines',
  'bin',
  'exports',
  'dependencies',
];

/** Lays the package into `folder`, which is emptied first. @throws Error if the types are wrong */
export function buildPackage(folder: string): void {
  compile();
  rmSync(folder, { recursive: true, force: true });
  for (const room of ROOMS) {
    // By source file, since .check may still hold what came of a file that is gone.
    for (const source of globSync(`${room}/**/*.ts`, { cwd: ROOT })) {
      const compiled = source.replace(/\.ts$/, '.js');
      copy(join(ROOT, '.check', compiled), join(folder, 'dist', compiled));
    }
    for (const data of globSync(`${room}/**/*.{json,html,css,svg}`, { cwd: ROOT })) {
      if (basename(data) !== 'tsconfig.json') copy(join(ROOT, data), join(folder, 'dist', data));
    }
  }
  for (const kept of ['cli/waybill.js', 'LICENSE', 'README.md', 'CHANGELOG.md', 'SECURITY.md', 'docs']) {
    cpSync(join(ROOT, kept), join(folder, kept), { recursive: true });
  }
  const manifest: Record<string, unknown> = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));
  const published = Object.fromEntries(MEMBERS.map((member) => [member, manifest[member]]));
  writeFileSync(join(folder, 'package.json'), `${JSON.stringify(published, null, 2)}\n`);
}

function compile(): void {
  const tsc = join(ROOT, 'node_modules', '.bin', 'tsc');
  const run = spawnSync(tsc, ['-b', 'cli'], { cwd: ROOT, encoding: 'utf8' });
  if (run.status !== 0) throw new Error(`expected types to be right, got:\n${run.stdout}${run.stderr}`);
}

function copy(from: string, to: string): void {
  mkdirSync(dirname(to), { recursive: true });
  cpSync(from, to);
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const folder = resolve(process.argv[2] ?? join(ROOT, '.check', 'package'));
  buildPackage(folder);
  process.stdout.write(`The package is in ${folder}; try it with \`npm pack ${folder}\`.\n`);
}
