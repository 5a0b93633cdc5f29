// SPDX-License-Identifier: Apache-2.0
// What killed builds left: in the cache, where builds under way look the same, hence the age; control groups and what is beside output folders,
// which say whose they are.

import { lstat, readdir, rename, stat, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { ControlGroup } from './control-group.ts';
import { isDead, processMark } from './process-mark.ts';
import { removeTree } from './remove-tree.ts';

const DAY_MS = 24 * 3600 * 1000;
/** Longer than any build: a step may run for a day. */
const LEFTOVER_AGE_MS = 2 * DAY_MS;
/** What steps left, and SBOMs, are kept as long after they were last used [docs/spec/step-cache.md §Entry]. */
const KEPT_AGE_MS = 30 * DAY_MS;
/** Its time is when what is kept was last swept. */
const SWEPT = 'swept';

/**
 * Removes unfinished downloads, trees and work folders of builds that ended long ago without tidying up, what was kept and not
 * used for long, and control groups of any that ended so.
 */
export async function sweepLeftovers(cache: string): Promise<void> {
  await ControlGroup.sweep();
  await sweepOld(join(cache, 'work'), '', LEFTOVER_AGE_MS);
  for (const folder of ['roots', 'store/sha256', 'steps/sha256', 'steps', 'sboms'])
    await sweepOld(join(cache, folder), 'new-', LEFTOVER_AGE_MS);
  for (const folder of ['steps', 'sboms']) await sweepKept(join(cache, folder));
}

/** Where to write what becomes an output folder, or is compared before one is made. */
export function besideOut(out: string, kind: 'new' | 'check'): string {
  return join(dirname(out), `.${basename(out)}.${processMark()}.${kind}`);
}

/** Where the folder is that is replaced, until it is. */
export function replacedBy(beside: string): string {
  return `${beside}.old`;
}

/**
 * Removes what killed builds left beside this output folder. An earlier build that one of them had moved away to replace it is put back if
 * there is no other.
 */
export async function sweepBeside(out: string): Promise<void> {
  const prefix = `.${basename(out)}.`;
  for (const name of await readdir(dirname(out)).catch(() => [])) {
    const [, mark = '', kind] = /^([0-9a-f-]+)\.(new|check|new\.old)$/.exec(name.slice(prefix.length)) ?? [];
    if (!name.startsWith(prefix) || kind === undefined) continue;
    const path = join(dirname(out), name);
    const dead = isDead(mark);
    if (dead === false) continue;
    if (dead === undefined) await removeOld(path, LEFTOVER_AGE_MS);
    else if (kind === 'new.old' && !(await isThere(out))) await rename(path, out).catch(() => undefined);
    // What cannot be removed is in nobody's way.
    else await removeTree(path).catch(() => undefined);
  }
}

async function isThere(path: string): Promise<boolean> {
  return (await lstat(path).catch(() => undefined)) !== undefined;
}

/** Once a day: there may be many. */
async function sweepKept(folder: string): Promise<void> {
  const mark = join(folder, SWEPT);
  const last = await stat(mark).catch(() => undefined);
  if (last !== undefined && Date.now() - last.mtimeMs <= DAY_MS) return;
  // Entries first: one without its outputs is of no use, outputs without an entry only take up room.
  const kept = (await readdir(folder).catch(() => [])).filter((name) => name !== 'sha256');
  for (const name of kept) await removeOld(join(folder, name), KEPT_AGE_MS);
  for (const name of await readdir(join(folder, 'sha256')).catch(() => []))
    if (!name.startsWith('new-')) await sweepOld(join(folder, 'sha256', name), '', KEPT_AGE_MS);
  await writeFile(mark, '').catch(() => undefined);
}

async function sweepOld(folder: string, mark: string, ageMs: number): Promise<void> {
  for (const name of await readdir(folder).catch(() => [])) {
    if (name.startsWith(mark)) await removeOld(join(folder, name), ageMs);
  }
}

async function removeOld(path: string, ageMs: number): Promise<void> {
  // Somebody else's sweep may be faster.
  const found = await stat(path).catch(() => undefined);
  if (found === undefined || Date.now() - found.mtimeMs <= ageMs) return;
  // What cannot be removed is in nobody's way.
  await removeTree(path).catch(() => undefined);
}
