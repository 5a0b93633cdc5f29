// SPDX-License-Identifier: Apache-2.0
// Waybill as it is published, compiled: what a user's command starts, and loads.

import { execFile } from 'node:child_process';
import { existsSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { buildSync } from 'esbuild';
import type { BuildSummary } from '../../builder/output-folder.ts';
import { PACKAGED } from '../../scripts/build.ts';

const REPOSITORY = new URL('../../', import.meta.url).pathname;
const run = promisify(execFile);

/** What makes SBOMs, compiled as the package is, for a process that does nothing else; below the package's folder. */
export const BILL_FOLDER = 'bill';

/** Lays the package into a folder, with the repository's dependencies beside it. */
export async function layPackage(folder: string): Promise<void> {
  await run(process.execPath, [join(REPOSITORY, 'scripts/build.ts'), folder]);
  buildSync({
    ...PACKAGED,
    absWorkingDir: REPOSITORY,
    entryPoints: ['builder/outputs.ts', 'builder/bill.ts'],
    outdir: join(folder, BILL_FOLDER),
  });
  const dependencies = join(folder, 'node_modules');
  if (!existsSync(dependencies)) symlinkSync(join(REPOSITORY, 'node_modules'), dependencies);
}

/** Runs `waybill build --json` in a process of its own; `base` holds the cache. */
export async function runBuild(
  { folder, base }: { readonly folder: string; readonly base: string },
  ...args: readonly string[]
): Promise<{ readonly wallMs: number; readonly summary: BuildSummary }> {
  const words = [join(folder, 'cli/waybill.js'), 'build', '--json', ...args];
  const startedMs = performance.now();
  const { stdout } = await run(process.execPath, words, {
    env: { ...process.env, XDG_CACHE_HOME: base },
    maxBuffer: 1 << 26,
  });
  const wallMs = performance.now() - startedMs;
  return { wallMs, summary: JSON.parse(stdout) as BuildSummary };
}
