// SPDX-License-Identifier: Apache-2.0
// One agent in a device folder [docs/spec/device.md §Folder]. Each lays down a claim, an empty file whose name says which process
// it is, and then looks for others: of two that begin at once at least one sees the other and gives way, so there are never
// two. A claim is never taken over, only swept once its process is gone; so nobody can take a fresh one for a stale one.

import { randomBytes } from 'node:crypto';
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';

/** Two that gave way to each other try again, each after a time of its own. */
const ATTEMPTS = 4;
const PAUSE_MS_MAX = 50;

const CLAIM = /^([1-9][0-9]*)-([0-9]+)-([0-9a-f-]+)-[0-9a-f]{12}$/;

/** Lays a claim in a folder; undefined if another living process has one. Returns how to withdraw it. */
export async function claimFolder(folder: string): Promise<(() => Promise<void>) | undefined> {
  await mkdir(folder, { recursive: true });
  const boot = await bootId();
  const mine = `${process.pid}-${await startOf(process.pid)}-${boot}-${randomBytes(6).toString('hex')}`;
  const withdraw = () => rm(join(folder, mine), { force: true });
  for (let attempt = 1; ; attempt++) {
    await writeFile(join(folder, mine), '');
    if (!(await othersIn(folder, mine, boot))) return withdraw;
    await withdraw();
    if (attempt === ATTEMPTS) return undefined;
    await pause(Math.random() * PAUSE_MS_MAX);
  }
}

/** True if another living process has a claim here; claims of the dead are swept. */
async function othersIn(folder: string, mine: string, boot: string): Promise<boolean> {
  let others = false;
  for (const name of await readdir(folder)) {
    if (name === mine) continue;
    if (await isLiving(name, boot)) others = true;
    else await rm(join(folder, name), { force: true, recursive: true });
  }
  return others;
}

/** After a restart, or in a fresh container, a number soon belongs to another process: when it began tells them apart. */
async function isLiving(claim: string, boot: string): Promise<boolean> {
  const [, pid, start, claimedBoot] = CLAIM.exec(claim) ?? [];
  if (claimedBoot !== boot) return false;
  try {
    process.kill(Number(pid), 0);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'EPERM') return false;
  }
  return (await startOf(Number(pid))) === start;
}

/** The boot that this is; `0` where the system does not say. */
async function bootId(): Promise<string> {
  return (await readFile('/proc/sys/kernel/random/boot_id', 'utf8').catch(() => '0')).trim();
}

/** When a process began, in ticks since the boot, as proc(5) has it; `0` where the system does not say, or nobody buried it yet. */
async function startOf(pid: number): Promise<string> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '');
  // The second field is the program's name in parentheses and may hold spaces; the third is the state, the 22nd the start.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return fields[0] === 'Z' ? '0' : (fields[19] ?? '0');
}
