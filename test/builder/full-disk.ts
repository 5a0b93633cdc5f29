// SPDX-License-Identifier: Apache-2.0
// Builds on disks of many sizes, and what must come of each: a fault that says that the disk is full, nothing left, and a cache that the next build
// can use.

import { execFile, spawnSync } from 'node:child_process';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect } from 'vitest';
import type { DiskTrial } from './full-disk-process.ts';

const PROCESS = fileURLToPath(new URL('full-disk-process.ts', import.meta.url));
const PRIVATE_MOUNTS = ['--mount', '--propagation', 'private', '--'];
/** What may be said of a full disk, by whoever was writing. */
const FULL = [
  'FETCH_STORE_UNWRITABLE',
  'SANDBOX_ROOT_UNPACKABLE',
  'SANDBOX_START_FAILED',
  'BUILD_FOLDER_UNWRITABLE',
  'STEP_FAILED',
];

/** Why no disk can be made here, if so. */
export function whyNoDisk(): string | undefined {
  const tried = spawnSync('unshare', [...PRIVATE_MOUNTS, 'mount', '-t', 'tmpfs', 'tmpfs', '/tmp'], {
    encoding: 'utf8',
  });
  return tried.status === 0 ? undefined : `no small disk can be mounted: ${tried.stderr.trim()}`;
}

/** Tries `count` sizes, and as many numbers of files. Returns the faults that came up. */
export async function tryFullDisks(count: number): Promise<string[]> {
  const disk = join(tmpdir(), `waybill-disk-${process.pid}`);
  const words = [...PRIVATE_MOUNTS, process.execPath, PROCESS, disk, String(count)];
  const { stdout } = await promisify(execFile)('unshare', words, { maxBuffer: 1 << 26 });
  const trials: DiskTrial[] = JSON.parse(stdout);
  expect(trials).toHaveLength(2 * count);
  for (const { disk, end, message, left, next } of trials) {
    expect([disk, left, next]).toEqual([disk, [], 'built']);
    if (end === 'built') continue;
    expect([disk, FULL]).toEqual([disk, expect.arrayContaining([end])]);
    expect([disk, message]).toEqual([
      disk,
      expect.stringMatching(/ENOSPC(?! at "")|No space left|Wrote only/),
    ]);
  }
  // Neither too small all the way nor too large.
  expect(trials.slice(0, 2).map(({ end }) => end)).not.toContain('built');
  expect(trials.slice(-2).map(({ end }) => end)).toEqual(['built', 'built']);
  return [...new Set(trials.map(({ end }) => end))].filter((end) => end !== 'built').sort();
}
