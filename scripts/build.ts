// SPDX-License-Identifier: Apache-2.0
// `npm run build [-- FOLDER]`: lays the package that is published into FOLDER (default .check/package): our own code in dist/, in as
// few files as the verbs need, so that a command starts at once; the command, licence and pages. Dependencies stay packages of their
// own. The checkout itself never holds a dist/, so nobody runs a stale one.

import { spawnSync } from 'node:child_process';
import { cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { type BuildOptions, buildSync } from 'esbuild';

const ROOT = fileURLToPath(new URL('..', import.meta.url));

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

/** How what is published is compiled. */
export const PACKAGED = {
  bundle: true,
  splitting: true,
  packages: 'external',
  platform: 'node',
  target: 'node24',
  format: 'esm',
  charset: 'utf8',
  logLevel: 'warning',
} as const satisfies BuildOptions;

/** Lays the package into `folder`, which is emptied first. @throws Error if the types are wrong */
export function buildPackage(folder: string): void {
  checkTypes();
  rmSync(folder, { recursive: true, force: true });
  buildSync({
    ...PACKAGED,
    absWorkingDir: ROOT,
    entryPoints: ['cli/main.ts'],
    outbase: '.',
    outdir: join(folder, 'dist'),
  });
  for (const kept of ['cli/waybill.js', 'LICENSE', 'README.md', 'CHANGELOG.md', 'SECURITY.md', 'docs']) {
    cpSync(join(ROOT, kept), join(folder, kept), { recursive: true });
  }
  const manifest: Record<string, unknown> = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));
  const published = Object.fromEntries(MEMBERS.map((member) => [member, manifest[member]]));
  writeFileSync(join(folder, 'package.json'), `${JSON.stringify(published, null, 2)}\n`);
}

function checkTypes(): void {
  const tsc = join(ROOT, 'node_modules', '.bin', 'tsc');
  const run = spawnSync(tsc, ['-b', 'cli'], { cwd: ROOT, encoding: 'utf8' });
  if (run.status !== 0) throw new Error(`expected types to be right, got:\n${run.stdout}${run.stderr}`);
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const folder = resolve(process.argv[2] ?? join(ROOT, '.check', 'package'));
  buildPackage(folder);
  process.stdout.write(`The package is in ${folder}; try it with \`npm pack ${folder}\`.\n`);
}
