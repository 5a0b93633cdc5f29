// SPDX-License-Identifier: Apache-2.0
// Names that say whose a thing is, so that it can be told when its builder was killed: a process by number and start, in which space of
// numbers, and since which start of the machine.

import { randomBytes } from 'node:crypto';
import { readFileSync, readlinkSync } from 'node:fs';

/** A new name of a thing of this process. */
export function processMark(): string {
  return [ownPidSpace(), process.pid, startOf('self'), ownBoot(), randomBytes(6).toString('hex')].join('-');
}

/**
 * Whether the process of a mark is dead. Undefined where that cannot be told: of another machine, which may share a disk with this one, of another
 * space of process numbers, and of what is no mark.
 */
export function isDead(mark: string): boolean | undefined {
  const [, space, pid = '', start, boot] = /^(\d+)-(\d+)-(\d+)-([0-9a-f]{8})-[0-9a-f]{12}$/.exec(mark) ?? [];
  // A /proc of other process numbers would call living builders dead.
  const canTell = readlinkSync('/proc/self') === String(process.pid);
  if (!canTell || space === undefined || space !== ownPidSpace() || boot !== ownBoot()) return undefined;
  return startOf(pid) !== start;
}

const ownPidSpace = (): string | undefined => /\d+/.exec(readlinkSync('/proc/self/ns/pid'))?.[0];

/** The same until the machine starts again [Linux proc_sys_kernel(5)]. */
const ownBoot = (): string => readIfThere('/proc/sys/kernel/random/boot_id').slice(0, 8);

/** When a process started, in ticks since the machine did; undefined if none lives by that number [Linux proc_pid_stat(5)]. */
function startOf(pid: string): string | undefined {
  const stat = readIfThere(`/proc/${pid}/stat`);
  // The second field stands in parentheses and may hold anything; the third is the state, the 22nd the start.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return /^[ZX]/.test(fields[0] ?? '') ? undefined : fields[19];
}

function readIfThere(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
