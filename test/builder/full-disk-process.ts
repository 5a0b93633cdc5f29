// SPDX-License-Identifier: Apache-2.0
// Builds on disks that are too small, in a mount namespace of its own (`unshare --mount`), as root. Arguments: a folder to mount on, and how many sizes
// to try. Says on standard output, as one JSON document, what came of each.

import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, rmSync, statfsSync } from 'node:fs';
import { join } from 'node:path';
import { build } from '../../builder/build.ts';
import { faultsOfCache, faultsOfOutput, leftoversOf, makeSmallBuild } from './small-build.ts';

export interface DiskTrial {
  /** Size of the disk as mount(8) takes it. */
  readonly disk: string;
  /** `built`, or the code of the fault, or what was thrown that is none. */
  readonly end: string;
  readonly message: string;
  /** What was there afterwards and should not have been. */
  readonly left: readonly string[];
  /** What a build gave on the same disk, files and all, once it had been made larger. */
  readonly next: string;
}

const [disk = '', count = '1'] = process.argv.slice(2);
const mount = (options: string) => execFileSync('mount', ['-t', 'tmpfs', '-o', options, 'tmpfs', disk]);
const unmount = () => execFileSync('umount', [disk]);
const [cache, outs] = ['cache', 'outs'].map((name) => join(disk, name)) as [string, string];
const small = await makeSmallBuild();

async function tryBuild(name: string): Promise<{ end: string; message: string }> {
  try {
    const out = join(outs, name);
    await build({ ...small.request, cache, out });
    const faults = faultsOfOutput(out, small.expected);
    return { end: faults.length === 0 ? 'built' : 'built otherwise', message: faults.join() };
  } catch (failure) {
    const { code, row, message } = failure as { code?: string; row?: object; message: string };
    return { end: row === undefined ? `no fault: ${code}` : (code ?? ''), message };
  }
}

async function tryDisk(options: string): Promise<DiskTrial> {
  mount(options);
  try {
    const first = await tryBuild('first');
    const left = [...leftoversOf(outs, cache), ...faultsOfCache(cache)];
    if (first.end !== 'built' && existsSync(join(outs, 'first'))) left.push('an output folder');
    execFileSync('mount', ['-o', 'remount,size=1g,nr_inodes=1m', disk]);
    const next = await tryBuild('next');
    return {
      disk: options,
      ...first,
      left,
      next: [next.end, next.message, ...faultsOfCache(cache)].join(' ').trim(),
    };
  } finally {
    unmount();
  }
}

/** What a build fills, at most, while it runs. */
async function measure(): Promise<{ kibibytes: number; inodes: number }> {
  mount('size=1g,nr_inodes=1m');
  const seen = { kibibytes: 0, inodes: 0 };
  const look = () => {
    const { blocks, bfree, bsize, files, ffree } = statfsSync(disk);
    seen.kibibytes = Math.max(seen.kibibytes, ((blocks - bfree) * bsize) / 1024);
    seen.inodes = Math.max(seen.inodes, files - ffree);
  };
  const timer = setInterval(look, 1);
  await tryBuild('measured');
  look();
  clearInterval(timer);
  unmount();
  return seen;
}

try {
  mkdirSync(disk, { recursive: true });
  const whole = await measure();
  const trials: DiskTrial[] = [];
  for (let i = 1; i <= Number(count); i++) {
    // Most of what is written are trees: half of the disks are full only when these are made. The last one is surely large enough.
    const at = i / Number(count);
    const share = at <= 0.5 ? 1.8 * at : at < 1 ? 0.9 + 0.22 * (at - 0.5) : 1.1;
    trials.push(await tryDisk(`size=${Math.max(4, Math.ceil(whole.kibibytes * share))}k,nr_inodes=1m`));
    trials.push(await tryDisk(`size=1g,nr_inodes=${Math.max(2, Math.ceil(whole.inodes * share))}`));
  }
  process.stdout.write(JSON.stringify(trials));
} finally {
  small.close();
  rmSync(disk, { recursive: true, force: true });
}
